"""Sizes of structures that are planned for, and the batches that they become."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from train.config import BatchConfig
from train.plan.dealing import FixedCount, Packed
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


def test_batches_are_those_of_the_trainer() -> None:
    dealing = Packed(sizes(), BatchConfig(max_atoms=128), seed=4)
    batches = dealing.epoch
    assert Counter(number for batch in batches.numbers for number in batch) == Counter(range(500))
    for numbers, size in zip(batches.numbers, batches.sizes, strict=True):
        assert size.tolist() == [*sizes()[numbers].sum(0).tolist(), len(numbers)]
    assert batches.sizes[:, 0].max() <= 128
    for step in dealing.steps(16):
        owners = dealing.owners(step, 4)
        shared = dealing.plan.shared(step.numbers, 4)
        for rank, batches_of_rank in enumerate(shared):
            own = [step.numbers[number] for number in np.flatnonzero(owners == rank)]
            assert sorted(own) == sorted(batches_of_rank)


def test_steps_are_whole_and_follow_each_other() -> None:
    dealing = Packed(sizes(), BatchConfig(max_atoms=128), seed=4)
    steps = dealing.steps(16)
    assert len(steps) == len(dealing.epoch) // 16
    assert [numbers for step in steps for numbers in step.numbers] == dealing.epoch.numbers[: 16 * len(steps)]
    assert len(dealing.steps(10**6)) == 1


def test_batches_of_a_fixed_count_are_dealt_in_turn() -> None:
    dealing = FixedCount(sizes(), 32, seed=0)
    batches = dealing.epoch
    assert len(batches) == 500 // 32
    assert {len(numbers) for numbers in batches.numbers} == {32}
    assert max(Counter(number for batch in batches.numbers for number in batch).values()) == 1
    assert batches.sizes[3].tolist() == [*sizes()[batches.numbers[3]].sum(0).tolist(), 32]
    assert dealing.owners(dealing.steps(6)[0], 4).tolist() == [0, 1, 2, 3, 0, 1]
    assert batches.numbers[0] != sorted(batches.numbers[0])


def test_an_empty_mix_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Mix.model_validate({"dataset": []})
