"""Temperatures and pressures that change: what they are at a step, how they are given, and what follows them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

from md_workflows import MDSettings, Ramp, parse_settings, run_md
from md_workflows.batched.dynamics.freedom import temperature
from md_workflows.batched.dynamics.targets import add_target, target
from md_workflows.batched.fleet import fleet_of
from md_workflows.ensembles import Bussi, Langevin, NoseHooverChain, NPTIsotropic, NPTLangevin
from md_workflows.ramps import MAX_POINTS, Schedule, is_constant, value_at
from md_workflows.velocities import thermal_momenta
from tests.md_workflows.fleets import CPU, advance, crystal, lattice_of, launch

POINTS = ((10, 300.0), (20, 500.0), (40, 100.0))
RAMP = Ramp(start=300.0, end=1000.0, steps=7)
MANY = tuple((3 * step, float(step**2)) for step in range(MAX_POINTS))


@pytest.mark.parametrize("schedule", [12.5, RAMP, POINTS, MANY])
def test_values(schedule: Schedule) -> None:
    """As numpy interpolates; a fleet of them says the same as each."""
    fleet = fleet_of([bulk("Cu")] * 60, list(range(60)), CPU)
    fleet.graph["step"] = torch.arange(60)
    add_target(fleet, "x", [schedule] * 60)
    points = {12.5: ((0, 12.5),), RAMP: ((0, 300.0), (7, 1000.0))}.get(schedule, schedule)  # type: ignore[call-overload]
    steps, values = zip(*points, strict=True)
    expected = np.interp(np.arange(60), steps, values)
    assert [value_at(schedule, step) for step in range(60)] == pytest.approx(expected)
    assert target(fleet, "x").tolist() == pytest.approx(expected, rel=1e-13)
    assert is_constant(schedule) == (schedule == 12.5)


def test_fleets_with_ramps_join() -> None:
    first, second = (fleet_of([bulk("Cu")], [key], CPU) for key in (1, 2))
    add_target(first, "x", [3.0])
    add_target(second, "x", [POINTS])
    both = first.join(second)
    both.graph["step"] = torch.tensor([15, 15])
    assert target(both, "x").tolist() == [3.0, 400.0]


@pytest.mark.parametrize(
    "given", [350.0, {"start": 300.0, "end": 1000.0, "steps": 7}, RAMP, [[10, 300.0], [20, 500.0]], POINTS]
)
def test_settings_take_them_and_come_back_from_json(given: Any) -> None:
    settings = parse_settings(MDSettings, {"ensemble": {"name": "langevin", "temperature_K": given}, "steps": 1})
    again = MDSettings.model_validate_json(settings.model_dump_json())
    assert again == settings
    assert settings.ensemble.thermostat_temperature == {350.0: 350.0}.get(
        given if isinstance(given, float) else 0, 300.0
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (-1.0, "temperature_K.number = -1.0 is refused|no value may be below 0"),
        ({"start": -1.0, "end": 1.0, "steps": 1}, "no value may be below 0"),
        ({"start": 1.0, "end": 1.0, "steps": 0}, "greater than or equal to 1"),
        ({"start": 1.0, "stop": 1.0, "steps": 1}, "Ramp does not take 'stop'|did you mean|stop"),
        ([], "1 to 16 points"),
        ([(0, 1.0)] * 2, "each at a later step than the one before"),
        ([(step, 1.0) for step in range(17)], "1 to 16 points"),
        ([(-1, 1.0)], "greater than or equal to 0"),
        ("hot", "valid number"),
        (float("nan"), "finite number"),
    ],
)
def test_refused(given: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_settings(MDSettings, {"ensemble": {"name": "langevin", "temperature_K": given}, "steps": 1})


def test_chains_need_a_temperature_above_zero() -> None:
    with pytest.raises(ValueError, match="every value has to be above 0"):
        NoseHooverChain(temperature_K=Ramp(start=0.0, end=300.0, steps=10))


def test_ase_does_not_follow_ramps() -> None:
    settings = MDSettings(ensemble=Langevin(temperature_K=RAMP), steps=1)
    with pytest.raises(
        ValueError, match="temperature_K of Langevin change during the run, which ASE's integrators cannot"
    ):
        run_md(bulk("Cu", cubic=True), settings, calculator=EMT())
    constant = MDSettings(ensemble=Langevin(temperature_K=((0, 300.0), (5, 300.0))), steps=1)
    assert run_md(bulk("Cu", cubic=True), constant, calculator=EMT()).steps == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda ramp, seed: Langevin(temperature_K=ramp, friction_per_fs=0.05, seed=seed),
        lambda ramp, seed: Bussi(temperature_K=ramp, tdamp_fs=20.0, seed=seed),
        lambda ramp, seed: NoseHooverChain(temperature_K=ramp, tdamp_fs=20.0),
    ],
)
def test_temperatures_follow(make: Any) -> None:
    """Of 60 crystals heated from 200 to 1000 K in 2 ps, of 60 cooled: the last 50 steps within 5 errors and the lag.

    The kinetic energy lags by a time of the thermostat, below 50 fs for these: by 0.4 K a fs × 50 fs = 20 K. Its means
    over 50 steps of 4 fs hold at least two independent samples of 9 degrees of freedom.
    """
    steps, replicas = 500, 60
    up, down = Ramp(start=200.0, end=1000.0, steps=steps), Ramp(start=1000.0, end=200.0, steps=steps)
    ensembles = [make(up if seed < replicas else down, seed) for seed in range(2 * replicas)]
    structures = [crystal(seed, 200.0 if seed < replicas else 1000.0) for seed in range(2 * replicas)]
    model = lattice_of(structures[0])
    fleet, integrator = launch(structures, ensembles, 4.0, model)
    start = integrator.conserved(fleet).clone()
    seen: list[Any] = []
    advance(
        fleet, integrator, model, steps, lambda step: seen.append(temperature(fleet)) if step > steps - 50 else None
    )
    means = torch.stack(seen).mean(0).view(2, replicas).mean(1)
    for mean, expected in zip(means.tolist(), (980.0, 220.0), strict=True):
        assert abs(mean - expected) < 20 + 5 * expected * np.sqrt(2 / 9 / 2 / replicas)
    # what is conserved counts heat and the work of ramps: it changes by less than 2 % of the energy that went in
    assert float((integrator.conserved(fleet) - start).abs().max()) < 0.02 * 12 * 8.617e-5 * 800


def test_pressure_ramps_move_the_volume_and_keep_the_conserved() -> None:
    """Pressure on a crystal at 10 K: its volume is that of the static lattice to a tenth of the change.

    20 GPa are 0.125 eV/Å³, which take a fifth of 47 Å³: what is conserved changes by less than 2 % of that work.
    """
    up, replicas = Ramp(start=0.0, end=20.0, steps=400), 20
    atoms = [crystal(seed, 100.0) for seed in range(replicas)]
    model = lattice_of(atoms[0])
    bath = {"temperature_K": 100.0, "pdamp_fs": 300.0}
    volumes = []
    for make in (NPTIsotropic, partial(NPTLangevin, cell_friction_per_fs=0.05)):
        fleet, integrator = launch(atoms, [make(pressure_GPa=up, **bath)] * replicas, 4.0, model)
        start = integrator.conserved(fleet).clone()
        seen: list[Any] = []
        advance(
            fleet, integrator, model, 410, lambda step, fleet=fleet, seen=seen: seen.append(fleet.graph["cell"].clone())
        )
        assert float((integrator.conserved(fleet) - start).abs().max()) < 0.02 * 0.125 * 0.2 * 47
        volumes.append(float(torch.linalg.det(torch.stack(seen[-20:])).mean()) / atoms[0].get_volume())
    stretch = np.linspace(0.9, 1.0, 1001)  # E = 24 k r0² (x² - 1)² / 8, P = -dE/dV with V = V0 x³
    pressure = 24 * model.stiffness * model.length**2 / 2 * (1 - stretch**2) * stretch / (3 * stretch**2)
    expected = np.interp(20 / 160.21766, (pressure / atoms[0].get_volume())[::-1], (stretch**3)[::-1])
    assert expected < 0.98
    assert np.abs(np.array(volumes) - expected).max() < 0.1 * (1 - expected)


def test_velocities_are_drawn_at_the_first_temperature() -> None:
    atoms = bulk("Cu", cubic=True) * 3
    thermal_momenta(atoms, Langevin(temperature_K=RAMP).thermostat_temperature or 0.0, 0)
    assert 200 < atoms.get_temperature() < 400
