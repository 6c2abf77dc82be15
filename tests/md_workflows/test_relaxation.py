"""Relaxation is ASE's, and `converged` is true only when it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.optimize import BFGS, FIRE, LBFGS

from md_workflows import CellSettings, RelaxSettings, StopReason, parse_settings, relax
from md_workflows.cell import cell_filter

BY_HAND = {"fire": FIRE, "lbfgs": LBFGS, "bfgs": BFGS}


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * 1.02, scale_atoms=True)
    atoms.rattle(0.1, seed=2)
    return atoms


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0, orthogonal=True)
    atoms.set_cell(atoms.cell * [1.02, 1.02, 1.0], scale_atoms=True)
    atoms.rattle(0.05, seed=3)
    return atoms


@pytest.mark.parametrize("free_cell", [False, True])
@pytest.mark.parametrize("name", BY_HAND)
def test_is_ase_by_hand(name: str, free_cell: bool) -> None:
    cell = CellSettings(pressure_GPa=1.0) if free_cell else None
    result = relax(crystal(), RelaxSettings(optimizer=name, fmax=0.03, cell=cell), calculator=EMT())
    hand = crystal()
    hand.calc = EMT()
    target = FrechetCellFilter(hand, scalar_pressure=units.GPa) if free_cell else hand
    optimizer = BY_HAND[name](target, logfile=None)
    optimizer.run(fmax=0.03, steps=result.steps)
    assert result.converged
    assert result.reason is StopReason.CONVERGED
    assert np.array_equal(result.atoms.positions, hand.positions)
    assert np.array_equal(result.atoms.cell.array, hand.cell.array)
    assert result.energy == hand.get_potential_energy()
    assert 0 <= result.steps - optimizer.nsteps <= int(free_cell)  # atoms and strain are asked for both
    assert result.stress == pytest.approx(hand.get_stress(), abs=1e-12)


def test_converged_is_true_only_when_it_is() -> None:
    """Forces computed anew, by another calculator object, agree with the flag in both directions."""
    for steps in (0, 3, 500):
        result = relax(crystal(), RelaxSettings(fmax=0.02, max_steps=steps), calculator=EMT())
        again = result.atoms.copy()
        again.calc = EMT()
        fmax = np.linalg.norm(again.get_forces(), axis=1).max()
        assert result.fmax == pytest.approx(fmax, rel=1e-9)
        assert result.converged == (fmax < 0.02)
        assert result.reason is (StopReason.CONVERGED if fmax < 0.02 else StopReason.MAX_STEPS)
        assert result.converged == (steps == 500)
        assert result.steps == steps or result.converged


def test_converged_on_the_last_step_allowed() -> None:
    needed = relax(crystal(), RelaxSettings(), calculator=EMT()).steps
    assert relax(crystal(), RelaxSettings(max_steps=needed), calculator=EMT()).converged
    assert not relax(crystal(), RelaxSettings(max_steps=needed - 1), calculator=EMT()).converged


def test_a_strained_cell_without_forces_is_not_converged() -> None:
    """A perfect crystal under tension has no forces at all: only the strain says that it is not relaxed."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * 1.03, scale_atoms=True)
    fixed = relax(atoms, RelaxSettings(max_steps=0), calculator=EMT())
    free = relax(atoms, RelaxSettings(max_steps=0, cell=CellSettings()), calculator=EMT())
    assert fixed.converged
    assert not free.converged


def test_pressure_is_reached() -> None:
    """At the end each |virial| / N < fmax (FrechetCellFilter's scale), so |P - P0| < N fmax / V."""
    fmax = 0.001
    result = relax(
        crystal(), RelaxSettings(optimizer="lbfgs", fmax=fmax, cell=CellSettings(pressure_GPa=5.0)), calculator=EMT()
    )
    assert result.converged
    assert result.stress is not None
    pressure = -result.stress[:3].mean()
    assert abs(pressure - 5.0 * units.GPa) < 4 * fmax / result.atoms.get_volume() * 1.05  # strain of 5 %
    assert result.atoms.get_volume() < bulk("Cu", cubic=True).get_volume()


def test_hydrostatic_keeps_the_shape_and_constant_volume_the_volume() -> None:
    atoms = crystal()
    atoms.set_cell(atoms.cell.array * [1.0, 1.03, 1.0], scale_atoms=True)
    shape = relax(
        atoms, RelaxSettings(optimizer="lbfgs", cell=CellSettings(hydrostatic=True)), calculator=EMT()
    ).atoms.cell
    assert np.allclose(shape.lengths() / shape.lengths()[0], atoms.cell.lengths() / atoms.cell.lengths()[0])
    assert shape.volume != pytest.approx(atoms.cell.volume, rel=1e-3)
    volume = relax(
        atoms, RelaxSettings(optimizer="lbfgs", cell=CellSettings(constant_volume=True)), calculator=EMT()
    ).atoms.cell
    assert volume.volume == pytest.approx(atoms.cell.volume, rel=1e-9)
    assert not np.allclose(volume.lengths(), atoms.cell.lengths(), rtol=1e-3)


def test_a_slab_keeps_its_open_direction() -> None:
    mask = (True, True, False, False, False, True)
    before = slab()
    result = relax(before, RelaxSettings(optimizer="lbfgs", cell=CellSettings(mask=mask)), calculator=EMT())
    assert result.converged
    assert np.array_equal(result.atoms.cell[2], before.cell[2])
    assert abs(result.atoms.cell[0, 0] / before.cell[0, 0] - 1) > 1e-3


def test_constraints_and_the_given_atoms_are_kept() -> None:
    atoms = slab()
    atoms.set_constraint(FixAtoms(range(4)))
    atoms.calc = EMT()
    before = atoms.copy()
    result = relax(atoms, RelaxSettings(fmax=0.01))
    assert atoms == before
    assert result.converged
    assert np.array_equal(result.atoms.positions[:4], before.positions[:4])
    assert result.atoms.constraints[0].todict() == atoms.constraints[0].todict()
    free = result.atoms.get_forces(apply_constraint=False)
    assert np.linalg.norm(free[:4], axis=1).max() > 0.01  # held, not relaxed
    assert np.linalg.norm(free[4:], axis=1).max() < 0.01


class Breaks(EMT):
    """EMT whose forces or stress are NaN from the n-th calculation on."""

    def __init__(self, at: int, what: str = "forces") -> None:
        super().__init__()
        self.left = at
        self.what = what

    def calculate(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def] # ASE's signature
        super().calculate(*args, **kwargs)
        self.left -= 1
        if self.left < 0:
            self.results[self.what] = self.results[self.what] * np.nan


@pytest.mark.parametrize("cell", [None, CellSettings()])
@pytest.mark.parametrize("name", BY_HAND)
def test_non_finite_keeps_the_last_good_geometry(name: str, cell: CellSettings | None) -> None:
    good = relax(crystal(), RelaxSettings(optimizer=name, cell=cell, max_steps=3), calculator=EMT())
    result = relax(crystal(), RelaxSettings(optimizer=name, cell=cell), calculator=Breaks(4))
    assert (result.reason, result.converged, result.steps) == (StopReason.NON_FINITE, False, 4)
    assert np.array_equal(result.atoms.positions, good.atoms.positions)
    assert result.energy == good.energy


def test_non_finite_from_the_start() -> None:
    result = relax(crystal(), calculator=Breaks(0))
    assert (result.reason, result.converged, result.steps) == (StopReason.NON_FINITE, False, 0)
    assert np.isnan(result.fmax)
    assert np.isnan(result.energy)


def test_non_finite_stress_only() -> None:
    result = relax(crystal(), RelaxSettings(optimizer="lbfgs", cell=CellSettings()), calculator=Breaks(2, "stress"))
    assert result.reason is StopReason.NON_FINITE
    assert np.isfinite(result.fmax)


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
def test_trajectory_and_progress(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"relax{suffix}"
    path.write_text("an older file")
    seen: list[int] = []
    result = relax(crystal(), calculator=EMT(), trajectory=path, progress=lambda done, _: seen.append(done))
    frames = read(path, index=":")
    assert [frame.info["step"] for frame in frames] == seen == list(range(result.steps + 1))
    assert frames[-1].get_potential_energy() == pytest.approx(result.energy, abs=1e-7)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_calculator_leaves_the_older_trajectory(tmp_path: Path) -> None:
    path = tmp_path / "relax.traj"
    path.write_text("an older file")
    with pytest.raises(NotImplementedError):
        relax(bulk("Fe"), calculator=EMT(), trajectory=path)
    assert path.read_text() == "an older file"
    assert list(tmp_path.iterdir()) == [path]


def _slab(pbc: tuple[bool, bool, bool] = (True, True, False), **changes: Any) -> Atoms:
    atoms = slab()
    atoms.pbc = pbc
    if "tilt" in changes:
        atoms.cell[2, 0] = changes["tilt"]
    if "flat" in changes:
        atoms.cell[2] = 0.0
    return atoms


@pytest.mark.parametrize(
    ("atoms", "cell", "told"),
    [
        (Atoms("Cu"), CellSettings(), "is not periodic, so its cell cannot be relaxed"),
        (_slab(flat=True), CellSettings(), "zero cell vector, so no stress is defined"),
        (_slab(), CellSettings(), r"zz, yz, xz would stretch an open direction; use mask=\(True, True, False"),
        (_slab(), CellSettings(hydrostatic=True), "the volume holds vacuum"),
        (_slab(), CellSettings(pressure_GPa=1.0), "the volume holds vacuum"),
        (_slab(tilt=1.0), CellSettings(mask=(True, True) + (False,) * 4), "vector c is open but not along"),
    ],
)
def test_cells_that_cannot_be_relaxed(atoms: Atoms, cell: CellSettings, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        relax(atoms, RelaxSettings(cell=cell), calculator=EMT())


def test_a_wire_may_only_stretch_along_itself() -> None:
    wire = _slab((False, False, True))
    wire.calc = LennardJones()
    assert cell_filter(wire, CellSettings(mask=(False, False, True, False, False, False))) is not None
    with pytest.raises(ValueError, match="xx, xy would stretch"):
        cell_filter(wire, CellSettings(mask=(True, False, True, False, False, True)))


def test_other_refusals(tmp_path: Path) -> None:
    no_stress = EMT()
    no_stress.implemented_properties = ["energy", "forces"]
    with pytest.raises(ValueError, match="needs the stress, which EMT does not give"):
        relax(crystal(), RelaxSettings(optimizer="lbfgs", cell=CellSettings()), calculator=no_stress)
    with pytest.raises(ValueError, match="no calculator"):
        relax(crystal())
    with pytest.raises(ValueError, match="has to end in one of"):
        relax(crystal(), calculator=EMT(), trajectory=tmp_path / "relax.xyz")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"optimizer": "sd"}, "optimizer 'sd' is not known; allowed are fire, lbfgs, bfgs"),
        ({"fmax": 0}, "fmax = 0 is refused"),
        ({"steps": 5}, "does not take 'steps'; did you mean 'max_steps'"),
        ({"cell": {"pressure": 5}}, "CellSettings does not take 'pressure'; did you mean 'pressure_GPa'"),
        ({"cell": {"hydrostatic": True, "constant_volume": True}}, "leave nothing of the cell to relax"),
        ({"cell": {"constant_volume": True, "pressure_GPa": 1}}, "does nothing at constant volume"),
        ({"cell": {"constant_volume": True, "mask": (True,) * 5 + (False,)}}, "a mask cannot go with"),
        ({"cell": {"mask": (False,) * 6}}, "the mask frees no strain"),
    ],
)
def test_settings_explain_themselves(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_settings(RelaxSettings, values)
