"""The demo's data builder: right labels, splits kept apart, the same files from the same seed."""

import io
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT
from ase.collections import g2
from rich.console import Console

from examples.demo import datasets, structures
from examples.demo.datasets import LEVELS, SPLITS, DataSet, Sizes, build, plan

TINY = Sizes(train=8, valid=3, test=5)
# extxyz keeps positions and forces to 8 decimals: each coordinate is off by half a unit of the last one at
# most.
POSITION_ERROR_A = 0.5e-8


@contextmanager
def here(processes: int) -> Iterator[datasets.RunAll]:
    """In place of `datasets.workers`: this process, where a test can put another calculator."""
    yield lambda walks: map(structures.run_walk, walks)


def quiet() -> Console:
    return Console(file=io.StringIO())


def frames_of(data: DataSet) -> dict[str, list[Atoms]]:
    return {split: ase.io.read(getattr(data, split), index=":") for split in SPLITS}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DataSet]:
    pytest.importorskip("tblite", reason="GFN2-xTB labels need tblite")
    return build(tmp_path_factory.mktemp("demo"), TINY, processes=1, console=quiet())


@pytest.mark.parametrize("name", LEVELS)
def test_every_split_has_its_size_and_nothing_is_left_beside(tiny: dict[str, DataSet], name: str) -> None:
    sizes = {split: len(frames) for split, frames in frames_of(tiny[name]).items()}
    assert sizes == {"train": 8, "valid": 3, "test": 5}
    assert tiny[name].dropped == 0
    assert {path.suffix for path in tiny[name].train.parent.iterdir()} == {".extxyz"}


def test_molecules_carry_the_energy_and_forces_of_a_fresh_gfn2_calculation(tiny: dict[str, DataSet]) -> None:
    from tblite.ase import TBLite  # optional

    # The self-consistent energy is converged to 1e-6 Hartree, and its error is quadratic in the density's,
    # which the forces see linearly; the density is converged to 2e-5 electrons, at one Hartree/Bohr for an
    # electron's shift.
    energy_error = 1e-6 * units.Hartree
    force_error = 2e-5 * units.Hartree / units.Bohr
    for frame in chain(*frames_of(tiny["molecules_gfn2"]).values()):
        fresh = Atoms(frame.numbers, frame.positions, calculator=TBLite(method="GFN2-xTB", verbosity=0))
        assert not frame.pbc.any()
        assert frame.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=energy_error)
        np.testing.assert_allclose(frame.get_forces(), fresh.get_forces(), atol=force_error, rtol=0)


def test_metals_carry_the_energy_forces_and_stress_of_a_fresh_emt_calculation(
    tiny: dict[str, DataSet],
) -> None:
    for frame in chain(*frames_of(tiny["metals_emt"]).values()):
        fresh = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True, calculator=EMT())
        forces = fresh.get_forces()
        assert frame.pbc.all()
        assert frame.get_potential_energy() == pytest.approx(
            fresh.get_potential_energy(), abs=POSITION_ERROR_A * np.abs(forces).sum() + 1e-12 * len(frame)
        )
        # Stiffness of a metal's bond: below 100 eV/Å² at these distances, 3 x 18 coordinates of near
        # neighbours.
        np.testing.assert_allclose(frame.get_forces(), forces, atol=100 * 54 * POSITION_ERROR_A, rtol=0)
        np.testing.assert_allclose(frame.get_stress(), fresh.get_stress(), atol=1e-6, rtol=0)
        assert 4 <= len(frame) <= 16


@pytest.mark.parametrize("name", LEVELS)
def test_no_walk_and_no_frame_is_in_two_splits(tiny: dict[str, DataSet], name: str) -> None:
    frames = frames_of(tiny[name])
    groups = {split: {frame.info["group"] for frame in frames[split]} for split in SPLITS}
    assert sum(map(len, groups.values())) == len(set.union(*groups.values()))
    energies = Counter(round(frame.get_potential_energy(), 9) for split in SPLITS for frame in frames[split])
    assert max(energies.values()) == 1


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_the_full_plan_covers_all_parents_and_motions_with_a_seed_for_each_walk(
    level: structures.Level,
) -> None:
    walks = plan(level, datasets.DEFAULT_SIZES, seed=0)
    assert len({walk.seed for walk in walks}) == len(walks) == len({walk.group for walk in walks})
    for split in ("train", "test"):
        here = [walk for walk in walks if walk.split == split]
        assert {walk.parent for walk in here} == set(level.parents)
        assert {walk.motion for walk in here} == set(level.motions)
    other = {walk.seed for a_level in LEVELS.values() if a_level is not level for walk in plan(a_level, TINY, seed=0)}
    assert not other & {walk.seed for walk in walks}


def test_molecules_are_closed_shells_of_four_elements() -> None:
    for name in structures.MOLECULES:
        numbers = structures.molecule(name).numbers
        assert set(numbers) <= {1, 6, 7, 8}, name
        assert numbers.sum() % 2 == 0, name
        assert not g2[name].get_initial_magnetic_moments().any(), name


@pytest.mark.parametrize("symbols", structures.ALLOYS)
def test_an_alloy_has_all_its_elements_and_a_metallic_bond_length(symbols: str) -> None:
    atoms = structures.alloy(symbols, np.random.default_rng(0))
    assert set(atoms.get_chemical_symbols()) == set(Atoms(symbols).get_chemical_symbols())
    # Nearest neighbours in fcc sit at a/√2, for the seven metals between 2.49 Å (Ni) and 2.89 Å (Ag).
    atoms = atoms.repeat(2)
    nearest = np.min(atoms.get_all_distances(mic=True) + 99 * np.eye(len(atoms)))
    assert 2.48 < nearest < 2.90


def test_the_same_seed_gives_the_same_files_in_a_pool_and_another_seed_others(
    tiny: dict[str, DataSet], tmp_path: Path
) -> None:
    pooled = build(tmp_path / "pool", TINY, processes=2, console=quiet())
    other = build(tmp_path / "other", Sizes(1, 1, 1), seed=1, processes=1, console=quiet())
    for name in LEVELS:
        assert pooled[name].train.read_bytes() == tiny[name].train.read_bytes()
        assert pooled[name].test.read_bytes() == tiny[name].test.read_bytes()
        first = {energy(other[name].train), energy(tiny[name].train)}
        assert len(first) == 2


def energy(path: Path) -> float:
    return float(ase.io.read(path, index=0).get_potential_energy())


def test_frames_lost_to_failed_calculations_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A calculator that fails at its third call in each walk loses the walk's third and fourth frame."""

    class Failing(EMT):
        calls = 0

        def calculate(self, *args: object, **kwargs: object) -> None:
            self.calls += 1
            if self.calls == 3:
                raise CalculationFailed("no convergence")
            super().calculate(*args, **kwargs)

    still = (structures.Motion("rattle", rattle_A=0.01),)
    level = structures.Level("metals_emt", ("Cu", "Al"), still, 1.0, 1, 0.0, 0.0)
    monkeypatch.setattr(datasets, "LEVELS", {"metals_emt": level})
    monkeypatch.setattr(datasets, "workers", here)
    monkeypatch.setattr(structures, "calculator", lambda level: Failing())
    data = build(tmp_path, Sizes(train=8, valid=2, test=4), processes=1, console=quiet())["metals_emt"]
    assert {split: len(frames) for split, frames in frames_of(data).items()} == {
        "train": 4,
        "valid": 2,
        "test": 2,
    }
    assert data.dropped == 6


def test_a_split_without_a_single_converged_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No calculation of x's split 'valid' converged"):
        datasets.save(tmp_path, "x", {"train": [Atoms("H")], "valid": [], "test": [Atoms("H")]}, planned=9)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_built_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'valid' is given 0 frames; give it 1 or more"):
        Sizes(valid=0)
    with pytest.raises(ValueError, match="by 0 processes; give 1 or more"):
        build(tmp_path, processes=0)
    with pytest.raises(ValueError, match="seed of the data sets is -1; give 0 or more"):
        build(tmp_path, seed=-1)
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(ValueError, match="tblite is missing: `pip install tblite`"):
        structures.calculator("molecules_gfn2")
