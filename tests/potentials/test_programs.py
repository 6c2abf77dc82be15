"""Compiled programs: kept between starts, named by all that determines them, right for all sizes or refused."""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.build import bulk
from torch import Tensor, nn

import potentials.program_cache
from potentials.backbones import BACKBONES
from potentials.compiled import CompiledPotential, compile_function, example_inputs, weights_and_buffers
from potentials.potential import Potential, PotentialConfig
from potentials.program_cache import forget_oldest, obtain_program, programs_folder
from potentials.program_key import program_key
from potentials.programs import NotAheadError, NotCompiledError, Program, build, trace
from potentials.structures import graph_from_atoms

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")

ROWS = torch.arange(401.0)[:, None] * torch.ones(3)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gfm-ase" / "programs"


def made(backbone: str = "schnet", seed: int = 0, **settings: Any) -> Potential:
    config = BACKBONES[backbone][0](**{"cutoff": 4.0, "width": 4, "depth": 1, "radial_size": 4, **settings})
    return Potential(PotentialConfig(backbone=config, heads=("emt",), head_width=4), seed=seed)


def key(potential: Potential) -> str | None:
    compiled = CompiledPotential(potential)
    example = example_inputs(potential.device, potential.dtype)
    return program_key(compiled.plain, weights_and_buffers(potential), example, {})


class Scaled(nn.Module):
    """A function with a number in it that no configuration knows."""

    def __init__(self, factor: Any) -> None:
        super().__init__()
        self.factor = factor
        self.weight = nn.Parameter(torch.ones(3))

    def compute(self, state: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (inputs[0] * state["weight"] * self.factor,)


def test_equal_names_mean_equal_functions() -> None:
    assert key(made()) == key(made(seed=5)) is not None
    others = [
        made(width=8),
        made(cutoff=4.5),
        made("painn"),
        made("egnn"),
        made("egnn", update_positions=True, depth=2),
        made("egnn", depth=2),
        made().double(),
    ]
    names = [key(made()), *map(key, others)]
    assert len(set(names)) == len(names)


def test_numbers_in_the_function_count_and_weights_do_not() -> None:
    def name(factor: Any, weight: float = 1.0) -> str | None:
        module = Scaled(factor)
        with torch.no_grad():
            module.weight.fill_(weight)
        return program_key(module.compute, {"weight": module.weight}, [ROWS], {})

    assert name(2.0) == name(2.0, 3.0) is not None
    different = [
        name(2.0),
        name(3.0),
        name(2),
        name(torch.tensor(2.0)),
        name(torch.tensor(3.0)),
        name([2.0]),
        name({2: 0}),
    ]
    assert None not in different
    assert len(set(different)) == len(different)
    assert name(threading.Lock()) is None
    options = [program_key(Scaled(2.0).compute, {}, [ROWS], {"option": value}) for value in (1, 2)]
    assert options[0] != options[1]


def test_a_second_start_neither_traces_nor_compiles(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Scaled(2.0), Scaled(2.0)
    with torch.no_grad():
        second.weight.fill_(5.0)
    call = compile_function(first.compute, {"weight": first.weight}, [ROWS])
    assert torch.equal(call({"weight": first.weight}, [ROWS[:7]])[0], 2 * ROWS[:7])
    assert len(list(cache.glob("*.pt2"))) == 1
    assert cache.stat().st_mode & 0o077 == 0

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("traced")

    monkeypatch.setattr(potentials.program_cache, "trace", refuse)
    again = compile_function(second.compute, {"weight": second.weight}, [ROWS])
    assert torch.equal(again({"weight": second.weight}, [ROWS[:7]])[0], 10 * ROWS[:7])
    with pytest.raises(AssertionError, match="traced"):
        compile_function(Scaled(4.0).compute, {"weight": first.weight}, [ROWS])
    with pytest.raises(AssertionError, match="another dtype"):
        again({"weight": second.weight.double()}, [ROWS])


@pytest.mark.slow
def test_a_damaged_program_and_one_of_another_function_are_built_again(cache: Path) -> None:
    module = Scaled(2.0)
    given = (module.compute, {"weight": module.weight}, [ROWS])
    compile_function(*given)
    (kept,) = cache.glob("*.pt2")
    good = kept.read_bytes()
    kept.write_bytes(good[:1000])
    assert torch.equal(compile_function(*given)(*given[1:])[0], 2 * ROWS)

    build(trace(Scaled(3.0).compute, given[1], given[2]), kept)
    assert torch.equal(Program(kept)([module.weight, ROWS])[0], 3 * ROWS)
    assert torch.equal(compile_function(*given)(*given[1:])[0], 2 * ROWS)
    assert torch.equal(Program(kept)([module.weight, ROWS])[0], 2 * ROWS)


def test_a_cache_that_others_can_write_is_not_run_from(cache: Path) -> None:
    assert programs_folder() == cache
    cache.chmod(0o777)
    with pytest.raises(ValueError, match=r"can be written by others, .* chmod 700 it, or set XDG_CACHE_HOME"):
        programs_folder()
    cache.chmod(0o700)
    assert programs_folder() == cache


@pytest.mark.slow
def test_without_a_cache_programs_are_built_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert programs_folder() is None
    module = Scaled(2.0)
    program, kept = obtain_program(module.compute, {"weight": module.weight}, [ROWS])
    assert not kept
    assert torch.equal(program([module.weight, ROWS])[0], 2 * ROWS)


def test_the_programs_used_last_stay(tmp_path: Path) -> None:
    for number in range(5):
        path = tmp_path / f"{number}.pt2"
        path.write_text("")
        os.utime(path, (time.time(), 1000 - number))
    forget_oldest(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.pt2", "1.pt2"]


def test_a_function_that_looks_at_sizes_is_refused() -> None:
    def another_for_many(state: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (inputs[0] * 2 if inputs[0].shape[0] > 100 else inputs[0],)

    with pytest.raises(NotCompiledError, match=r"for some sizes only .* use compile = false"):
        trace(another_for_many, {}, [ROWS])


def test_where_a_program_would_hold_for_some_sizes_torch_compiles_as_it_goes(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotAheadError("not for 5")

    monkeypatch.setattr(potentials.program_cache, "build", refuse)
    module = Scaled(2.0)
    call = compile_function(module.compute, {"weight": module.weight}, [ROWS])
    for rows in (401, 5, 2):
        assert torch.equal(call({"weight": module.weight}, [ROWS[:rows]])[0], 2 * ROWS[:rows])
    torch._dynamo.reset()


@pytest.mark.slow
def test_inputs_need_not_lie_in_order(cache: Path) -> None:
    potential = made()
    potential.references.set_head("emt", {"Cu": 0.0})
    graph = graph_from_atoms(bulk("Cu", cubic=True), 4.0)
    apart = graph.map(lambda value: torch.stack([value, value], dim=-1)[..., 0])
    assert not apart.numbers.is_contiguous()
    compiled = CompiledPotential(potential)
    assert torch.equal(compiled(apart)["forces"], compiled(graph)["forces"])


def test_weights_need_not_lie_in_order(cache: Path) -> None:
    """A program once read beyond a view of one column: it was traced with strides that it was not called with."""
    view = torch.eye(8)[:, 1:2]

    def spread(state: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (inputs[0][:, None] * state["view"],)

    program, _ = obtain_program(spread, {"view": view}, [ROWS])
    assert torch.equal(program([view, ROWS[:9]])[0], ROWS[:9, None] * view)


def test_what_the_compiler_cannot_do_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("internal\n  error 42")

    monkeypatch.setattr("torch._inductor.aot_compile", fails)
    traced = trace(Scaled(2.0).compute, {"weight": torch.ones(3)}, [ROWS])
    with pytest.raises(NotCompiledError, match=r"cannot compile this potential \(internal error 42\); use compile = f"):
        build(traced, tmp_path / "program.pt2")
    assert not list(tmp_path.iterdir())
