"""Batched integrators step for step as ASE's, with ASE's forces and, where there are any, the same random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixCartesian
from ase.md.bussi import Bussi as ASEBussi
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet

from md_workflows.batched.ase_model import ASEModel
from md_workflows.batched.dynamics.random import atom_normals, structure_normals
from md_workflows.batched.fleet import Fleet
from md_workflows.ensembles import NPT, NVE, Bussi, EnsembleSettings, Langevin, NoseHooverChain, NPTIsotropic
from md_workflows.integrators import build_integrator
from md_workflows.velocities import thermal_momenta
from tests.md_workflows.fleets import advance, launch

FS, GPa = units.fs, units.GPa
STEPS = 40
SHEARED = [[1.02, 0.03, 0.0], [0.0, 0.99, 0.02], [0.01, 0.0, 1.0]]
CHAIN: dict[str, Any] = {"temperature_K": 400.0, "tdamp_fs": 30.0, "tchain": 3, "tloop": 2}
BAROSTAT: dict[str, Any] = {**CHAIN, "pressure_GPa": 4.0, "pdamp_fs": 60.0, "pchain": 2, "ploop": 2}
HOT, TORN, ASE = {"temperature_K": 700.0}, {"pressure_GPa": -2.0}, {"degrees": "ase"}


def copper(seed: int, temperature_K: float = 900.0) -> Atoms:
    """A sheared, strained cell of four, for which every component of the stress is something."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ SHEARED, True)
    atoms.rattle(0.05, seed=seed)
    thermal_momenta(atoms, temperature_K, seed)
    return atoms


def compare(atoms: list[Atoms], fleet: Fleet, tolerance: float = 1e-9) -> None:
    """Positions (Å), cells (Å) and momenta (of about 3 in ASE's units) equal but for what rounding grew to."""
    for row, one in enumerate(atoms):
        found = fleet.atoms(row)
        assert np.abs(found.positions - one.positions).max() < tolerance
        assert np.abs(found.cell.array - one.cell.array).max() < tolerance
        assert np.abs(found.get_momenta() - one.get_momenta()).max() < tolerance


@pytest.mark.parametrize(
    ("name", "settings", "ase"),
    [
        ("NVE", [NVE(), NVE()], lambda atoms, s: VelocityVerlet(atoms, 2 * FS)),
        ("NHC", [NoseHooverChain(**CHAIN | ASE), NoseHooverChain(**CHAIN | ASE | HOT)],
         lambda atoms, s: NoseHooverChainNVT(atoms, 2 * FS, s.temperature_K, s.tdamp_fs * FS, 3, 2)),
        ("isotropic", [NPTIsotropic(**BAROSTAT | ASE), NPTIsotropic(**BAROSTAT | ASE | TORN)],
         lambda atoms, s: IsotropicMTKNPT(atoms, 2 * FS, 400.0, s.pressure_GPa * GPa, 30 * FS, 60 * FS, 3, 2, 2, 2)),
        ("full", [NPT(**BAROSTAT | ASE), NPT(**BAROSTAT | ASE | TORN)],
         lambda atoms, s: MTKNPT(atoms, 2 * FS, 400.0, s.pressure_GPa * GPa, 30 * FS, 60 * FS, 3, 2, 2, 2)),
    ],
)  # fmt: skip
def test_trajectories_are_those_of_ase(name: str, settings: list[EnsembleSettings], ase: Any) -> None:
    """Two structures with settings of their own in one fleet; what ASE counts as degrees of freedom, it counts too."""
    structures = [copper(1), copper(2)]
    model = ASEModel(EMT(), "EMT")
    fleet, integrator = launch(structures, settings, 2.0, model)
    advance(fleet, integrator, model, STEPS)
    conserved = integrator.conserved(fleet)
    for row, (atoms, each) in enumerate(zip(structures, settings, strict=True)):
        atoms.calc = EMT()
        dynamics = ase(atoms, each)
        dynamics.run(STEPS)
        if hasattr(dynamics, "get_conserved_energy"):
            assert float(conserved[row]) == pytest.approx(dynamics.get_conserved_energy(), abs=1e-9)
    compare(structures, fleet)


@pytest.mark.parametrize("settings", [NoseHooverChain(**CHAIN), NPTIsotropic(**BAROSTAT), NPT(**BAROSTAT)])
def test_both_engines_count_the_same_degrees_of_freedom(settings: EnsembleSettings) -> None:
    atoms, model = copper(1), ASEModel(EMT(), "EMT")
    fleet, integrator = launch([atoms], [settings], 2.0, model)
    advance(fleet, integrator, model, STEPS)
    atoms.calc = EMT()
    build_integrator(atoms, 2.0, settings).dynamics.run(STEPS)
    compare([atoms], fleet)


class Replayed(np.random.Generator):
    """A generator that gives out numbers noted before."""

    def __init__(self, numbers: list[Any]) -> None:
        super().__init__(np.random.PCG64(0))
        self._numbers = numbers

    def normal(self, size: Any = None) -> Any:  # type: ignore[override]
        found = self._numbers.pop(0)
        assert np.shape(found) == size
        return found

    def standard_normal(self) -> Any:  # type: ignore[override]
        return self._numbers.pop(0)

    def standard_gamma(self, shape: float) -> Any:  # type: ignore[override]
        degrees, squares = self._numbers.pop(0)
        assert 2 * shape == degrees
        return squares / 2


def test_langevin_is_baoab() -> None:
    atoms, model = copper(1), ASEModel(EMT(), "EMT")
    settings = Langevin(temperature_K=400.0, friction_per_fs=0.05, seed=9)
    fleet, integrator = launch([atoms], [settings], 2.0, model)
    numbers: list[Any] = []
    for _ in range(STEPS):
        numbers.append(atom_normals(fleet).numpy().copy())
        advance(fleet, integrator, model, 1)
    atoms.calc = EMT()
    LangevinBAOAB(atoms, 2 * FS, temperature_K=400.0, T_tau=20 * FS, rng=Replayed(numbers)).run(STEPS)
    compare([atoms], fleet)
    assert numbers == []


@pytest.mark.parametrize("degrees", ["ase", "internal"])
@pytest.mark.parametrize(
    ("held", "internal"),
    [([], 9), ([FixAtoms([0])], 9), ([FixCartesian([1], (True, False, False))], 9), ([FixAtoms([0, 1, 2])], 3)],
)
def test_bussi(degrees: Any, held: list[Any], internal: int) -> None:
    """Also with constraints: neither what is held is a degree of freedom nor a total momentum that stays."""
    atoms, model = copper(1), ASEModel(EMT(), "EMT")
    atoms.set_constraint(held)
    atoms.set_momenta(atoms.get_momenta())
    settings = Bussi(temperature_K=400.0, tdamp_fs=20.0, seed=9, degrees=degrees)
    fleet, integrator = launch([atoms], [settings], 2.0, model)
    numbers: list[Any] = []
    expected = internal if degrees == "internal" else atoms.get_number_of_degrees_of_freedom()
    assert int(fleet.graph["freedom"][0]) == expected
    for _ in range(STEPS):
        summed = (atom_normals(fleet) * fleet.atom["summed"]).square()
        assert int(fleet.atom["summed"].sum()) == expected - 1
        numbers += [float(structure_normals(fleet, 1)), (expected - 1, float(summed.sum()))]
        advance(fleet, integrator, model, 1)
    atoms.calc = EMT()
    dynamics = build_integrator(atoms, 2.0, settings).dynamics
    assert isinstance(dynamics, ASEBussi)
    dynamics.rng = Replayed(numbers)
    dynamics.run(STEPS)
    compare([atoms], fleet)
    assert float(fleet.graph["heat"][0]) == pytest.approx(dynamics.transferred_energy, abs=1e-9)
    assert numbers == []


def test_langevin_holds_what_is_held() -> None:
    atoms, model = copper(1), ASEModel(EMT(), "EMT")
    atoms.set_constraint([FixAtoms([0]), FixCartesian([1], (True, False, True))])
    atoms.set_momenta(atoms.get_momenta())
    start = atoms.positions.copy()
    fleet, integrator = launch([atoms], [Langevin(temperature_K=400.0)], 2.0, model)
    advance(fleet, integrator, model, 10)
    moved = fleet.atom["positions"].numpy() != start
    assert moved.tolist() == [[False] * 3, [False, True, False], [True] * 3, [True] * 3]
    assert int(fleet.graph["freedom"][0]) == 7


def test_pressure_is_the_virial_by_finite_strain() -> None:
    """The potential's part of the pressure that moves cells: -dE/dV of LennardJones, through `Full.kick` at rest."""
    atoms = bulk("Ar", cubic=True, a=5.0) * (2, 2, 2)
    atoms.rattle(0.05, seed=1)
    calculator = LennardJones(sigma=3.4, epsilon=0.01, rc=8.0, smooth=True)
    model = ASEModel(calculator, "LJ")
    fleet, integrator = launch([atoms], [NPT(temperature_K=300.0, degrees="ase")], 1.0, model)
    integrator._cell.kick(fleet, torch.ones(1, dtype=torch.float64))  # type: ignore[attr-defined]
    strained = []
    for sign in (1, -1):
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ (np.eye(3) + sign * 1e-5 * np.diag([1.0, 0.0, 0.0])), scale_atoms=True)
        copy.calc = calculator
        strained.append(copy.get_potential_energy())
    force = -(strained[0] - strained[1]) / 2e-5
    assert float(fleet.graph["cell_momentum"][0, 0, 0]) == pytest.approx(force, rel=1e-6)
