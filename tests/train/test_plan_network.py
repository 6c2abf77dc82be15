"""Sums over processes: formulas against rounds of messages counted one by one; ranks and machines as given."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from train.plan.machines import MACHINES, Machine, find_machine, parse_ranks
from train.plan.network import all_reduce, check_reduction, halving, ring, tree

LATENCY, BANDWIDTH, SIZE = 3e-6, 2e9, 1e6

SMALL = Machine(
    name="small",
    nodes=64,
    ranks_per_node=4,
    inside=8e9,
    between=4e9,
    latency_inside=1e-6,
    latency_between=5e-6,
    attained=0.5,
    node_watts=1000.0,
    storage=1e9,
)


def message(size: float) -> float:
    return LATENCY + size / BANDWIDTH


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_a_ring_is_its_messages(ranks: int) -> None:
    """Reduce-scatter and all-gather: as many rounds as there are other processes, each with a part of the bytes."""
    rounds = [message(SIZE / ranks) for _ in range(ranks - 1)] * 2
    assert ring(ranks, SIZE, LATENCY, BANDWIDTH) == pytest.approx(sum(rounds))


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_a_tree_is_its_messages(levels: int) -> None:
    """Up and down, all bytes at each level."""
    rounds = [message(SIZE) for _ in range(levels)] * 2
    assert tree(2**levels, SIZE, LATENCY, BANDWIDTH) == pytest.approx(sum(rounds))


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_halving_is_its_messages(levels: int) -> None:
    """Half of the bytes, a quarter, ... and all the way back."""
    rounds = [message(SIZE / 2**level) for level in range(1, levels + 1)] * 2
    assert halving(2**levels, SIZE, LATENCY, BANDWIDTH) == pytest.approx(sum(rounds))


def test_one_process_sends_nothing() -> None:
    assert ring(1, SIZE, LATENCY, BANDWIDTH) == tree(1, SIZE, LATENCY, BANDWIDTH) == 0.0
    assert all_reduce(SMALL, 1, SIZE) == 0.0


def test_a_node_is_a_ring_of_its_devices() -> None:
    """4 devices, half of 8 GB/s, 1 µs: six rounds of 0.25 MB."""
    assert all_reduce(SMALL, 4, SIZE) == pytest.approx(6 * (1e-6 + 0.25e6 / 4e9))
    assert all_reduce(SMALL, 3, SIZE) == pytest.approx(4 * (1e-6 + SIZE / 3 / 4e9))


def test_nodes_are_summed_by_parts() -> None:
    """2 nodes of 4: the ring inside, and for each device a quarter of the bytes over a quarter of half of 4 GB/s.

    Two processes: a ring is two rounds of a half, a tree two of all, and halving is the ring.
    """
    inside = 6 * (1e-6 + 0.25e6 / 4e9)
    assert all_reduce(SMALL, 8, SIZE) == pytest.approx(inside + 2 * (5e-6 + 0.125e6 / 0.5e9))


def test_short_messages_go_by_a_tree_and_not_around() -> None:
    """64 nodes: 12 messages one after the other instead of 126, but for those inside."""
    assert all_reduce(SMALL, 256, 4.0) == pytest.approx(6e-6 + 12 * 5e-6, rel=1e-3)


def test_a_ring_through_all_processes_is_as_slow_as_they_are_many() -> None:
    """8 processes of 2 nodes: 14 rounds, of which each node is left once in 4."""
    latency = (2 * 5e-6 + 6 * 1e-6) / 8
    assert all_reduce(SMALL, 8, SIZE, "ring") == pytest.approx(14 * (latency + SIZE / 8 / 2e9))
    slow, fast = (all_reduce(MACHINES["frontier"], 16_384, 4e6, how) for how in ("ring", "hierarchical"))
    assert slow > 50 * fast


def test_ways_of_summing_are_known_by_name() -> None:
    assert check_reduction("ring") == "ring"
    with pytest.raises(ValueError, match="--reduction star: it must be hierarchical or ring"):
        check_reduction("star")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("16..16384", tuple(16 * 2**n for n in range(11))),
        ("1..4", (1, 2, 4)),
        ("16..100", (16, 32, 64, 100)),
        ("8..8", (8,)),
        ("4,1,2,2", (1, 2, 4)),
        ("7", (7,)),
    ],
)
def test_ranks_are_read(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_ranks(text, MACHINES["frontier"]) == numbers


@pytest.mark.parametrize("text", ["", "a", "1..", "..4", "1,,2", "1.5", "1...4"])
def test_ranks_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"write FIRST\.\.LAST"):
        parse_ranks(text, SMALL)


@pytest.mark.parametrize("text", ["0", "-1,2", "8..4"])
def test_ranks_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match="are 1 or more, and the first is the least"):
        parse_ranks(text, SMALL)


def test_ranks_that_a_machine_has_not() -> None:
    assert parse_ranks("256", SMALL) == (256,)
    with pytest.raises(ValueError, match="small has 64 nodes of 4 devices, which is 256 processes at most"):
        parse_ranks("257", SMALL)
    assert parse_ranks("4", replace(SMALL, name="here", nodes=1, ranks_per_node=2)) == (4,)


def test_machines_are_as_published() -> None:
    frontier, perlmutter = MACHINES["frontier"], MACHINES["perlmutter"]
    assert (frontier.ranks_per_node, perlmutter.ranks_per_node) == (8, 4)
    assert frontier.between == perlmutter.between == 4 * 25e9
    # cores as TOP500 counts them: those of the processor, and 220 and 108 compute units of each GPU
    assert 8_699_904 == 9216 * (64 + 4 * 220)
    assert 888_832 == 1792 * (64 + 4 * 108)
    assert frontier.node_watts == pytest.approx(22_703e3 / 9216)
    assert find_machine("frontier") is frontier
    assert all(machine.sources for machine in MACHINES.values())


def toml_of(machine: Machine) -> dict[str, str]:
    found = {field.name: repr(getattr(machine, field.name)) for field in fields(machine) if field.name != "sources"}
    return {**found, "spare_cores": "true"}


def written(path: Path, lines: dict[str, str]) -> str:
    path.write_text("\n".join(f"{name} = {value}" for name, value in lines.items()), encoding="utf-8")
    return str(path)


def test_a_machine_from_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "small.toml", {**toml_of(SMALL), "sources": '["a guess"]'})
    assert find_machine(path) == replace(SMALL, sources=("a guess",))


def test_machines_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="known are frontier, perlmutter and here; or name a TOML file"):
        find_machine("summit")
    (tmp_path / "broken.toml").write_text("nodes = ", encoding="utf-8")
    with pytest.raises(ValueError, match="is no TOML"):
        find_machine(str(tmp_path / "broken.toml"))
    with pytest.raises(ValueError, match="color is no attribute of a machine"):
        find_machine(written(tmp_path / "a.toml", {**toml_of(SMALL), "color": "1"}))
    less = {name: value for name, value in toml_of(SMALL).items() if name not in {"nodes", "between", "crowding"}}
    with pytest.raises(ValueError, match="nodes, between is missing"):
        find_machine(written(tmp_path / "b.toml", less))


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("nodes", 1.5, "must be a whole number, above 0"),
        ("nodes", 0, "must be a whole number, above 0"),
        ("between", -1.0, "must be a number, above 0"),
        ("latency_inside", -1.0, "must be a number, 0 or more"),
        ("node_watts", float("inf"), "must be a number, 0 or more"),
        ("storage", "fast", "must be a number, above 0"),
        ("attained", 1.5, "it is a share, 1 at most"),
    ],
)
def test_attributes_that_cannot_be(name: str, value: object, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        replace(SMALL, **{name: value})
