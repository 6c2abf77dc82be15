"""Sizes of structures that are planned for, and the batches that they become."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from train.config import BatchConfig
from train.plan.dealing import BySize, FixedCount, Packed
from train.plan.sizes import DatasetSizes, Mix, Population, Spread, draw_mixed, read_mix

SPREAD = {"mean": 73.0, "least": 7, "largest": 225, "spread": 0.45}


def test_the_published_mix_is_154_million_structures() -> None:
    mix = read_mix("published")
    assert [one.name for one in mix.dataset] == ["ani1x", "qm7x", "oc2020", "oc2022", "mptrj"]
    assert sum(one.structures for one in mix.dataset) == pytest.approx(154e6, rel=0.005)
    assert all(one.source for one in mix.dataset)


def test_a_law_has_the_mean_and_the_range_that_are_given() -> None:
    numbers, shares = Spread.model_validate(SPREAD).law
    assert (numbers[0], numbers[-1]) == (7, 225)
    assert shares.sum() == pytest.approx(1)
    assert float(numbers @ shares) == pytest.approx(73, rel=1e-6)
    wide = float(np.sqrt(shares @ np.log(numbers) ** 2 - (shares @ np.log(numbers)) ** 2))
    assert 0.9 * 0.45 < wide < 0.45  # cut


def test_a_mean_at_the_end_of_the_range_is_reached() -> None:
    numbers, shares = Spread(mean=224.9, least=7, largest=225, spread=0.45).law
    assert float(numbers @ shares) == pytest.approx(224.9, rel=1e-6)


def test_sizes_are_drawn_as_told_and_the_same_again() -> None:
    sizes = DatasetSizes.model_validate(
        {"name": "a", "structures": 10**8, "source": "", "atoms": SPREAD, "edges_per_atom": 30, "edges_spread": 0.3}
    )
    population = sizes.population()
    assert population.count == 10**8
    # means of 100,000 draws: 5 standard errors of a spread below 1 are 1.6 %
    assert population.mean == pytest.approx([73, 73 * 30], rel=0.016)
    assert (population.sizes == sizes.population().sizes).all()


def test_a_table_of_sizes_is_drawn_from() -> None:
    table = [[4, 100, 3], [20, 0, 1]]
    one = DatasetSizes.model_validate_json(f'{{"name": "a", "structures": 8, "source": "", "table": {table}}}')
    found = Counter(map(tuple, one.population().sizes.tolist()))
    assert found.keys() == {(4, 100), (20, 0)}
    assert found[4, 100] / found[20, 0] == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("keys", [{}, {"atoms": SPREAD}, {"edges_per_atom": 3}, {"table": []}])
def test_sizes_are_given_in_one_way(keys: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give either table"):
        DatasetSizes.model_validate({"name": "a", "structures": 1, "source": "", **keys})
    both = {"table": [[1, 0, 1]], "atoms": SPREAD, "edges_per_atom": 3}
    with pytest.raises(ValueError, match="give either table"):
        DatasetSizes.model_validate({"name": "a", "structures": 1, "source": "", **both})


def test_a_mean_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="is not between least = 7 and largest = 225"):
        Spread.model_validate({**SPREAD, "mean": 300})


def test_mixes_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_mix(str(tmp_path / "none.toml"))
    (tmp_path / "a.toml").write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match="is no TOML"):
        read_mix(str(tmp_path / "a.toml"))
    (tmp_path / "b.toml").write_text('[[dataset]]\nname = "a"\nstructurs = 3\n', encoding="utf-8")
    with pytest.raises(ValueError, match="structurs"):
        read_mix(str(tmp_path / "b.toml"))
    (tmp_path / "c.toml").write_text('source = "a"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="dataset"):
        read_mix(str(tmp_path / "c.toml"))


def test_data_sets_are_mixed_in_the_share_of_their_counts() -> None:
    small, large = (np.full((10, 2), number) for number in (1, 2))
    drawn = draw_mixed([Population("a", 10, small), Population("b", 30, large)], 4000, np.random.default_rng(0))
    # 5 standard deviations of a share of a quarter
    assert (drawn[:, 0] == 1).mean() == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 4000) ** 0.5)
    halves = [(part[:, 0] == 1).mean() for part in np.array_split(drawn, 2)]
    assert abs(halves[0] - halves[1]) < 0.1


def sizes(count: int = 500) -> np.ndarray:
    random = np.random.default_rng(1)
    atoms = random.integers(2, 60, count)
    return np.column_stack([atoms, atoms * random.integers(5, 40, count)])


@pytest.mark.parametrize("ranks", [1, 4])
def test_batches_are_those_of_the_trainer(ranks: int) -> None:
    """Each process plans its own share; together they are the simulated step."""
    dealing = Packed(sizes(), BatchConfig(max_atoms=128), seed=4)
    steps = dealing.steps(16, 3)
    assert len(steps) == 3
    own = [dealing.plan(16).steps(0, share=(rank, ranks)) for rank in range(ranks)]
    for step in steps:
        who = dealing.owner(len(step), ranks)
        for rank, batches in enumerate(own):
            assert next(batches) == [step.numbers[number] for number in np.flatnonzero(who == rank)]
        for numbers, size in zip(step.numbers, step.sizes, strict=True):
            assert size.tolist() == [*sizes()[numbers].sum(0).tolist(), len(numbers)]
        assert step.sizes[:, 0].max() <= 128
    every = Counter(number for step in steps for batch in step.numbers for number in batch)
    assert max(every.values()) == 1


def test_steps_are_whole() -> None:
    for dealing in (Packed(sizes(), BatchConfig(max_atoms=128), seed=4), FixedCount(sizes(), 4, seed=4)):
        steps = dealing.steps(16, 10**6)
        assert len(steps) == (500 // 4) // 16 == 7 or isinstance(dealing, Packed)
        assert {len(step) for step in steps} == {16}
        with pytest.raises(ValueError, match="do not fill a step of 1,000 batches"):
            dealing.steps(1000, 1)


def test_batches_of_a_fixed_count_are_dealt_in_turn() -> None:
    first, second = FixedCount(sizes(), 32, seed=0).steps(6, 2)
    assert {len(numbers) for numbers in first.numbers + second.numbers} == {32}
    assert max(Counter(number for batch in first.numbers + second.numbers for number in batch).values()) == 1
    assert first.sizes[3].tolist() == [*sizes()[first.numbers[3]].sum(0).tolist(), 32]
    assert FixedCount(sizes(), 32, seed=0).owner(len(first), 4).tolist() == [0, 1, 2, 3, 0, 1]
    assert first.numbers[0] != sorted(first.numbers[0])


def test_what_is_known_by_size_has_nothing_else() -> None:
    structures = BySize(sizes())
    nothing = np.zeros(0, dtype=int)
    for asked in (structures.take, structures.columns, structures.digests):
        with pytest.raises(AssertionError, match="known by size"):
            asked(nothing)
    with pytest.raises(AssertionError, match="known by size"):
        structures.fingerprint()
    with pytest.raises(ValueError, match=r"which the plan has drawn, has .* more than batch\.max_atoms = 32 allows"):
        Packed(sizes(), BatchConfig(max_atoms=32), seed=0).steps(2, 1)


def test_an_empty_mix_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Mix.model_validate({"dataset": []})
