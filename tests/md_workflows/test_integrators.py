"""What every batched integrator holds: reversibility, momenta, order, independence of the batch, restarts, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixBondLength
from torch import Tensor

from md_workflows.batched.dynamics.freedom import freedom, temperature
from md_workflows.batched.dynamics.registry import INTEGRATORS, check_ensemble, integrator_for
from md_workflows.batched.fleet import Fleet
from md_workflows.ensembles import NPT, NVE, Bussi, Langevin, NoseHooverChain, NPTIsotropic, NPTLangevin
from md_workflows.integrators import ENSEMBLES, build_integrator
from md_workflows.velocities import thermal_momenta
from tests.md_workflows.fleets import IdealGas, advance, crystal, lattice_of, launch

MODEL = lattice_of(crystal(0, 300.0))
NOISY = {"langevin", "bussi", "npt_langevin_isotropic", "npt_langevin"}


def ensemble(name: str, seed: int = 0, temperature_K: float = 400.0, **other: Any) -> Any:
    values = dict(other)
    if name != "nve":
        values["temperature_K"] = temperature_K
    if name in NOISY:
        values["seed"] = seed
    if name.startswith("npt"):
        values |= {"pressure_GPa": 2.0 + seed, "pdamp_fs": 100.0}
    return ENSEMBLES[name][0](**values)


def three(name: str, rows: tuple[int, ...] = (0, 1, 2)) -> tuple[Fleet, Any]:
    """Crystals with temperatures, pressures, seeds and time steps of their own, or some of them."""
    temperatures, timesteps = (200.0, 500.0, 900.0), (1.0, 2.0, 3.0)
    settings = [ensemble(name, row, temperatures[row]) for row in rows]
    structures = [crystal(row + 1, temperatures[row]) for row in rows]
    return launch(structures, settings, [timesteps[row] for row in rows], MODEL)


def copied(fleet: Fleet) -> Fleet:
    parts = [{name: column.clone() for name, column in level.items()} for level in (fleet.atom, fleet.graph)]
    return Fleet(*parts)


def same(first: Fleet, second: Fleet) -> bool:
    levels = ((first.atom, second.atom), (first.graph, second.graph))
    return all(set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a) for a, b in levels)


def test_every_ensemble_has_an_integrator() -> None:
    assert set(INTEGRATORS) == set(ENSEMBLES)
    for name, (settings, _) in ENSEMBLES.items():
        assert integrator_for(ensemble(name)).needs_stress == settings.needs_stress


@pytest.mark.parametrize("name", INTEGRATORS)
def test_each_is_as_if_alone_and_as_after_a_restart(name: str) -> None:
    """To the bit, in every column: of three, one alone, and those left after the first has gone half-way."""
    fleet, integrator = three(name)
    advance(fleet, integrator, MODEL, 15)
    state = copied(fleet)
    advance(fleet, integrator, MODEL, 15)

    fresh, restarted = three(name)
    fresh.atom.update(state.atom)
    fresh.graph.update(state.graph)
    left = copied(fresh).keep(torch.tensor([False, True, True]))
    advance(fresh, restarted, MODEL, 15)
    assert same(fresh, fleet)
    advance(left, restarted, MODEL, 15)
    assert same(left, fleet.keep(torch.tensor([False, True, True])))

    alone, integrator = three(name, (1,))
    advance(alone, integrator, MODEL, 30)
    row = fleet.keep(torch.tensor([False, True, False]))
    alone.graph["key"] += 1
    assert same(alone, row)


@pytest.mark.parametrize("name", ["nve", "nose_hoover_chain", "npt_isotropic", "npt"])
def test_reversible(name: str) -> None:
    """Without noise, the way back with all momenta turned leads to the start: to 1e-9 Å after 60 steps."""
    fleet, integrator = three(name)
    start = copied(fleet)
    advance(fleet, integrator, MODEL, 60)
    assert float((fleet.atom["positions"] - start.atom["positions"]).abs().max()) > 0.1
    for columns in (fleet.atom, fleet.graph):
        for column in (key for key in columns if key.endswith(("momenta", "cell_momentum"))):
            columns[column].neg_()
    advance(fleet, integrator, MODEL, 60)
    assert float((fleet.atom["positions"] - start.atom["positions"]).abs().max()) < 1e-9
    assert float((fleet.graph["cell"] - start.graph["cell"]).abs().max()) < 1e-9


def ripple(name: str, timestep_fs: float) -> Tensor:
    """How far what is conserved strays from its mean, of what is seen every 4 fs of 200."""
    fleet, integrator = launch([crystal(3, 300.0)], [ensemble(name, temperature_K=300.0)], timestep_fs, MODEL)
    seen: list[Tensor] = []
    advance(
        fleet, integrator, MODEL, round(200 / timestep_fs), lambda _: seen.append(integrator.conserved(fleet).clone())
    )
    values = torch.stack(seen)
    return values[round(4 / timestep_fs) - 1 :: round(4 / timestep_fs)].std()


@pytest.mark.parametrize("name", ["nve", "nose_hoover_chain", "npt_isotropic", "npt"])
def test_what_is_conserved_strays_as_the_square_of_the_step(name: str) -> None:
    """Second order: a step of half the length strays a quarter as far, up to the next order (ω dt)² / 12 < 0.05."""
    assert float(ripple(name, 2.0) / ripple(name, 1.0)) == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_conserved_over_half_a_picosecond(name: str) -> None:
    """250 steps: within 2 % of kT an atom of where it began, noise, heat and volume work counted."""
    fleet, integrator = launch([crystal(3, 300.0)], [ensemble(name, temperature_K=300.0)], 2.0, MODEL)
    start = integrator.conserved(fleet).clone()
    advance(fleet, integrator, MODEL, 250)
    assert float((integrator.conserved(fleet) - start).abs()) < 0.02 * 4 * 0.02585


@pytest.mark.parametrize("name", ["nve", "bussi", "nose_hoover_chain", "npt_isotropic", "npt"])
def test_total_momentum_stays_zero(name: str) -> None:
    assert ENSEMBLES[name][0].conserves_momentum
    fleet, integrator = three(name)
    advance(fleet, integrator, MODEL, 100)
    scale = float(fleet.atom["momenta"].abs().sum())
    assert float(fleet.atom["momenta"].view(3, 4, 3).sum(1).abs().max()) < 1e-12 * scale


@pytest.mark.parametrize("name", ["langevin", "npt_langevin", "npt_langevin_isotropic"])
def test_friction_and_noise_move_the_centre_of_mass(name: str) -> None:
    assert not ENSEMBLES[name][0].conserves_momentum
    fleet, integrator = three(name)
    advance(fleet, integrator, MODEL, 50)
    assert float(fleet.atom["momenta"].view(3, 4, 3).sum(1).abs().min()) > 1e-3
    assert fleet.graph["freedom"].tolist() == [12.0] * 3


@pytest.mark.parametrize("name", ["npt", "npt_langevin", "npt_isotropic"])
def test_one_that_runs_away_does_not_touch_the_others(name: str) -> None:
    fleet, integrator = three(name)
    expected, other = three(name)
    fleet.atom["momenta"][5] = torch.nan
    advance(fleet, integrator, MODEL, 10)
    advance(expected, other, MODEL, 10)
    others = torch.tensor([True, False, True])
    assert same(fleet.keep(others), expected.keep(others))
    assert not bool(torch.isfinite(fleet.graph["cell"][1]).any())


def test_degrees_of_freedom() -> None:
    """3N, less what is held, less each total momentum that nothing takes up."""
    atoms = crystal(1, 300.0)
    fleet, _ = launch([atoms, atoms, atoms], [NVE()] * 3, 1.0, MODEL)
    fleet.atom["free"][4] = 0.0  # an atom of the second
    fleet.atom["free"][8:, 2] = 0.0  # z of all of the third
    yes = torch.tensor([True, True, True])
    assert freedom(fleet, yes).tolist() == [9.0, 9.0, 6.0]
    assert freedom(fleet, ~yes).tolist() == [12.0, 9.0, 8.0]
    fleet.graph["freedom"] = freedom(fleet, ~yes)
    assert float(temperature(fleet)[0]) == pytest.approx(atoms.get_temperature())


def test_cells_keep_their_shape_or_do_not_turn() -> None:
    isotropic, integrator = three("npt_langevin_isotropic")
    shape = isotropic.graph["cell"] / torch.linalg.det(isotropic.graph["cell"])[:, None, None] ** (1 / 3)
    advance(isotropic, integrator, MODEL, 50)
    now = isotropic.graph["cell"] / torch.linalg.det(isotropic.graph["cell"])[:, None, None] ** (1 / 3)
    assert torch.allclose(now, shape, rtol=0, atol=1e-12)
    full, integrator = three("npt_langevin")
    advance(full, integrator, MODEL, 50)
    rate = full.graph["cell_momentum"]
    assert torch.equal(rate, rate.transpose(1, 2))
    assert float((full.graph["cell"] - isotropic.graph["cell"]).abs().max()) > 1e-3


def test_velocities_may_turn_round() -> None:
    """Bussi's factor is negative where friction and noise would have turned the one-dimensional momentum round."""
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [2.5, 0, 0]], cell=[9, 9, 9], pbc=True)
    atoms.set_momenta([[1e-6, 0, 0], [-1e-6, 0, 0]])
    settings = [Bussi(temperature_K=3000.0, tdamp_fs=1.0, seed=seed) for seed in range(40)]
    fleet, integrator = launch([atoms] * 40, settings, 5.0, IdealGas())
    advance(fleet, integrator, IdealGas(), 1)
    signs = fleet.atom["momenta"].view(40, 2, 3)[:, 0, 0].sign()
    assert 0 < int((signs < 0).sum()) < 40


def test_refusals() -> None:
    held, bonded, slab, moving = (crystal(1, 300.0) for _ in range(4))
    held.set_constraint(FixAtoms([0]))
    bonded.set_constraint(FixBondLength(0, 1))
    slab.pbc = (True, True, False)
    moving.set_momenta(moving.get_momenta() + 1.0)
    chain = NoseHooverChain(temperature_K=300.0)
    one = bulk("Cu")
    thermal_momenta(one, 300.0, 1)
    cases = [
        (held, chain, r"NoseHooverChain cannot keep constraints \(FixAtoms\); use NVE, Langevin or Bussi"),
        (held, NPTLangevin(temperature_K=300.0), "NPTLangevin cannot keep constraints"),
        (
            bonded,
            Langevin(temperature_K=300.0),
            "batched dynamics keeps FixAtoms, FixCartesian, not FixBondLengths; use run_md, or remove",
        ),
        (slab, NPT(temperature_K=300.0), "NPT needs a structure periodic along all three directions"),
        (
            moving,
            chain,
            "NoseHooverChain holds the temperature of the internal motion, and these atoms move as a whole",
        ),
        (moving, Bussi(temperature_K=300.0), "give degrees='ase'"),
        (one, NPTIsotropic(temperature_K=300.0), "NPTIsotropic conserves the total momentum, and one atom moves in no"),
    ]
    for atoms, settings, told in cases:
        with pytest.raises(ValueError, match=told):
            check_ensemble(atoms, settings)
    for allowed in (Langevin(temperature_K=300.0), NVE(), Bussi(temperature_K=300.0)):
        check_ensemble(held, allowed)
    check_ensemble(moving, NoseHooverChain(temperature_K=300.0, degrees="ase"))
    with pytest.raises(ValueError, match="move as a whole"):
        build_integrator(moving, 1.0, chain)
    with pytest.raises(ValueError, match="ASE's integrators have no NPTLangevin: use run_md_many"):
        build_integrator(moving, 1.0, NPTLangevin(temperature_K=300.0))


def test_bussi_needs_velocities() -> None:
    with pytest.raises(ValueError, match="all of them are zero; give initial velocities"):
        launch([bulk("Cu", cubic=True)], [Bussi(temperature_K=300.0)], 1.0, MODEL)


def test_chains_that_differ_do_not_advance_together() -> None:
    atoms = [crystal(seed, 300.0) for seed in range(2)]
    settings = [NoseHooverChain(temperature_K=300.0), NoseHooverChain(temperature_K=300.0, tchain=5)]
    with pytest.raises(
        ValueError, match=r"need chains alike, these have \(thermostats, substeps\) \[\(3, 1\), \(5, 1\)\]"
    ):
        launch(atoms, settings, 1.0, MODEL)
    fleet, integrator = launch(atoms[:1], settings[:1], 1.0, MODEL)
    with pytest.raises(ValueError, match="need chains alike"):
        integrator.columns(fleet, settings[1:])


def test_zero_temperature_takes_all_motion_away() -> None:
    settings = [Langevin(temperature_K=0.0, friction_per_fs=0.5)]
    fleet, integrator = launch([crystal(1, 300.0)], settings, 2.0, MODEL)
    advance(fleet, integrator, MODEL, 200)
    assert float(fleet.atom["momenta"].abs().max()) < 1e-2
    assert np.isfinite(float(integrator.conserved(fleet)))
