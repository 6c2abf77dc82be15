"""Dynamics of molecules: a bond that breaks is seen, a proton that moves is told apart, h(r) of a known set."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from benchmarks.card.subject import open_subject
from benchmarks.molecules import runs
from benchmarks.molecules.bonds import Bonds, watched
from benchmarks.molecules.distances import Distances, density_of, difference
from benchmarks.molecules.findings import left_sites, positions_of
from benchmarks.molecules.report import pictures, section
from benchmarks.molecules.runs import Plan, molecules, steps
from md_workflows.batch_files import BatchFiles


def test_the_bonds_of_ethanol_are_found() -> None:
    bonds = Bonds.of(molecule("CH3CH2OH"))
    assert len(bonds.pairs) == 8
    assert 0.9 < bonds.lengths.min() < bonds.lengths.max() < 1.6
    with pytest.raises(ValueError, match="H2 has no bonds"):
        Bonds.of(Atoms("H2", positions=[[0, 0, 0], [0, 0, 5]]))


@pytest.mark.parametrize(("stretch", "failed"), [(0.45, None), (0.55, 3), (-0.45, None), (-0.55, 3), (np.nan, 3)])
def test_a_bond_breaks_beyond_half_an_angstrom_and_not_before(stretch: float, failed: int | None) -> None:
    start = molecule("CO")
    bonds = Bonds.of(start)
    frames = [start.positions.copy() for _ in range(5)]
    frames[3][1] += stretch * (start.positions[1] - start.positions[0]) / start.get_distance(0, 1)
    held = watched(bonds, frames)
    assert held.failed_at == failed
    assert held.largest == pytest.approx(0.0 if failed else abs(stretch), abs=1e-12)
    assert held.frames == (4 if failed else 5)


def test_turning_and_moving_a_molecule_breaks_nothing() -> None:
    start = molecule("CH3CH2OH")
    turned = start.copy()
    turned.rotate(77, (1, 2, 3))
    turned.translate(40)
    assert Bonds.of(start).deviation(turned.positions) == (pytest.approx(0.0, abs=1e-12), False)


def water_with(partner: str) -> tuple[Atoms, np.ndarray]:
    """A water that has given a proton to another atom, 2.6 Å from its oxygen; the proton is in the last place."""
    start = Atoms(["O", "H", partner, "H"], positions=[[0, 0, 0], [0, 0.96, 0], [2.6, 0, 0], [0.97, 0, 0]])
    given = start.positions.copy()
    given[3] = [1.6, 0, 0]
    return start, given


def test_a_proton_that_goes_to_another_oxygen_is_no_broken_bond() -> None:
    start, given = water_with("O")
    assert Bonds.of(start).deviation(given) == (0.0, True)
    held = watched(Bonds.of(start), [start.positions, given])
    assert (held.failed_at, held.transfers) == (None, 1)


def test_a_proton_that_goes_to_a_carbon_or_nowhere_is_a_broken_bond() -> None:
    start, given = water_with("C")
    assert Bonds.of(start).deviation(given) == (pytest.approx(0.63), False)
    start, given = water_with("O")
    given[3] = [0, 0, 2.0]
    assert watched(Bonds.of(start), [given]).failed_at == 0


def test_distances_of_a_known_set() -> None:
    # an equilateral triangle of side 1.01 Å and, in the other frame, one of 2.01 Å
    triangle = np.array([[0, 0, 0], [1, 0, 0], [0.5, 3**0.5 / 2, 0]])
    found = density_of([1.01 * triangle, 2.01 * triangle])
    density, width = found.density(), found.edges[1]
    filled = np.flatnonzero(density)
    assert found.edges[filled] == pytest.approx([1.0, 2.0])
    assert density[filled] * width == pytest.approx([0.5, 0.5])
    assert difference(found, found) == 0.0
    assert difference(found, density_of([1.01 * triangle])) == pytest.approx(1.0)
    assert difference(density_of([2.01 * triangle]), density_of([1.01 * triangle])) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="no frame was taken"):
        Distances().density()


def test_the_distribution_of_a_gaussian_bond_is_the_gaussian() -> None:
    rng = np.random.default_rng(0)
    frames = [np.array([[0, 0, 0], [0, 0, length]]) for length in rng.normal(3.0, 0.2, 20_000)]
    found = density_of(frames)
    centres = found.edges[:-1] + found.edges[1] / 2
    exact = np.exp(-((centres - 3.0) ** 2) / 0.08) / (0.2 * (2 * np.pi) ** 0.5)
    # Σ over bins of E|count - mean| = √(2 p / (π n)): 0.044 for 20,000 samples
    assert float((np.abs(found.density() - exact) * found.edges[1]).sum()) < 0.06


def test_an_atom_that_leaves_its_site_is_seen_and_a_drifting_crystal_is_not() -> None:
    start = bulk("Cu", cubic=True) * (2, 2, 2)
    drifted = start.positions + np.array([5.0, 0, 0])
    assert left_sites(start, iter([drifted])) == (None, pytest.approx(0.0, abs=1e-12))
    left = start.positions.copy()
    left[3] += [0, 0, 1.5]  # neighbours are 2.55 Å apart
    place, ratio = left_sites(start, iter([drifted, left]))
    assert place == 1
    assert ratio == pytest.approx(1.5 * 31 / 32 / 2.553, rel=1e-3)


@pytest.mark.parametrize(("timestep", "every"), [(0.5, 40), (1.0, 20), (0.3, 67), (50.0, 1)])
def test_frames_are_20_fs_apart_or_a_step(timestep: float, every: int) -> None:
    plan = Plan(1.0, 300.0, 1, timestep)
    assert (plan.every, plan.frame_ps) == (every, pytest.approx(every * timestep / 1000))
    assert plan.settings(3).ensemble.seed == 3


@pytest.fixture
def one_molecule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MOLECULES", {"ethanol": runs.MOLECULES["ethanol"]})


@pytest.mark.usefixtures("one_molecule")
def test_a_run_is_told_goes_on_and_is_drawn(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    subject = open_subject(checkpoint, data, tmp_path)
    plan = Plan(0.4, 300.0, 2, 1.0)
    half = molecules(subject, tmp_path, Plan(0.2, 300.0, 2, 1.0))
    (row,) = half["rows"]
    # forces are a thousandth of real ones: what flies apart is a broken bond
    assert row["atoms"] == 9
    assert row["failed_ps"]
    assert row["failed_ps"] == sorted(row["failed_ps"])
    record = json.loads(json.dumps(molecules(subject, tmp_path, plan)))
    folder = BatchFiles(tmp_path / "molecules_300K", suffix=".traj")
    assert len(list(positions_of(folder, 0))) == 21
    assert record["rows"][0]["failed_ps"] == half["rows"][0]["failed_ps"]
    text = section({"molecules_300K": record})
    assert "| ethanol | 9 | **" in text
    assert set(pictures({"molecules_300K": record})) == {"model_md.png"}


@pytest.mark.usefixtures("one_molecule")
def test_time_steps_are_compared(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    record = steps(open_subject(checkpoint, data, tmp_path), tmp_path, Plan(0.02, 300.0, 1, 1.0))
    assert [one["timestep_fs"] for one in record["runs"]] == [0.5, 1.0, 2.0]
    assert "| 0.5 |" in section({"steps": record})
