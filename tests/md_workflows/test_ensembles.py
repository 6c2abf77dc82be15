"""Replicas sample the ensembles that are claimed: kinetic and potential energies, volumes.

`physical_validation` (Merz & Shirts, PLOS ONE 13, e0202764, 2018) judges energies; the volumes of an ideal gas have a
known distribution. Each test is also shown a wrong claim, which it has to refuse. Replicas make samples independent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import units
from scipy import stats

from benchmarks.md_ensembles import (
    GAS_ATOMS,
    GAS_K,
    GAS_PRESSURE,
    HIGH,
    LOW,
    MAKERS,
    PRESSED,
    begin,
    check_ensemble,
    check_kinetic,
    of_crystal,
    of_gas,
)
from tests.md_workflows.fleets import IdealGas, Samples, advance, gas

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of pymbar
CLAIMED = [name for name in MAKERS if "ase" not in name]
QUICK = ("langevin", "bussi", "nose_hoover_chain")
SLOW = [name for name in CLAIMED if name not in QUICK]
IMPROBABLE = 1e-4
MANY_SIGMA = 4.0


def held(name: str) -> dict[str, float]:
    return {"pressure_GPa": 0.0} if name.startswith("npt") else {}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_kinetic_energies(name: str) -> None:
    samples = of_crystal(name, 400, 1, temperature_K=LOW, **held(name))
    assert check_kinetic(samples, 4, LOW, strict=True) > IMPROBABLE
    mean, width = check_kinetic(samples, 4, LOW, strict=False)
    assert max(mean, width) < MANY_SIGMA
    assert check_kinetic(samples, 4, 1.25 * LOW, strict=True) < IMPROBABLE
    other = {"freedom": 12 if samples.freedom == 9 else 9}
    assert check_kinetic(Samples(**samples.__dict__ | other), 4, LOW, strict=True) < IMPROBABLE


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMED)
def test_potential_energies_at_two_temperatures(name: str) -> None:
    cold, hot = (of_crystal(name, 600, 1, temperature_K=at, **held(name)) for at in (LOW, HIGH))
    zero = (0.0,) if held(name) else ()
    assert check_ensemble(cold, hot, 4, ((LOW, *zero), (HIGH, *zero)))[0] < MANY_SIGMA
    assert check_ensemble(cold, hot, 4, ((LOW, *zero), (1.5 * HIGH, *zero)))[0] > MANY_SIGMA


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_volumes_of_a_crystal_at_two_pressures(name: str) -> None:
    loose, pressed = (of_crystal(name, 600, 1, temperature_K=LOW, pressure_GPa=at) for at in (0.0, PRESSED))
    assert check_ensemble(loose, pressed, 4, ((LOW, 0.0), (LOW, PRESSED * units.GPa)))[0] < MANY_SIGMA
    assert check_ensemble(loose, pressed, 4, ((LOW, 0.0), (LOW, 1.5 * PRESSED * units.GPa)))[0] > MANY_SIGMA


def volumes(samples: Samples) -> Any:
    return samples.volume * GAS_PRESSURE / (units.kB * GAS_K)


@pytest.mark.parametrize(
    "name",
    [
        "npt_isotropic",
        "npt_langevin_isotropic",
        pytest.param("npt", marks=pytest.mark.slow),
        pytest.param("npt_langevin", marks=pytest.mark.slow),
    ],
)
def test_volumes_of_an_ideal_gas(name: str) -> None:
    """V^M exp(-PV/kT): M is N, or N - 1 where the centre of mass rests, for then its place is no variable either.

    By Kolmogorov and Smirnov, and the mean within 5 standard errors, farther than 2.5 from that of the other M.
    """
    samples = of_gas(name, 400, 1)
    shape = GAS_ATOMS + 1 if samples.freedom == 3 * GAS_ATOMS else GAS_ATOMS
    x = volumes(samples)
    assert stats.kstest(x[-1], "gamma", (shape,)).pvalue > IMPROBABLE
    error = np.sqrt(shape / x.shape[1])
    assert abs(x.mean() - shape) < 5 * error
    assert abs(x.mean() - (2 * GAS_ATOMS + 1 - shape)) > 2.5 * error


@pytest.mark.slow
def test_a_cell_has_six_rates() -> None:
    """Twice the kinetic energy of a cell that does not turn is 6 kT, within 5 errors; counted as nine, it is more."""
    replicas, found = 300, {}
    for name in ("npt", "npt, degrees ase"):
        pressure = {"temperature_K": GAS_K, "pressure_GPa": GAS_PRESSURE / units.GPa}
        fleet, integrator = begin(name, [gas(seed) for seed in range(replicas)], IdealGas(), pressure)
        advance(fleet, integrator, IdealGas(), 600)
        found[name] = integrator._cell.doubled_energy(fleet).numpy() / (units.kB * GAS_K)
    error = np.sqrt(12 / replicas)
    assert abs(found["npt"].mean() - 6) < 5 * error
    assert found["npt, degrees ase"].mean() - 6 > 5 * error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["npt", "npt_langevin"])
def test_shapes_of_a_gas_are_isotropic(name: str) -> None:
    """A gas resists no shear: lengths wander apart, none of the three, nor any angle, more than the others."""
    cells = of_gas(name, 400, 1).cell[-1]
    metric = cells @ cells.transpose(0, 2, 1)
    lengths = np.log(np.diagonal(metric, axis1=1, axis2=2)) / 2
    apart = lengths - lengths.mean(axis=1, keepdims=True)
    assert apart.std() > 0.05
    assert np.abs(apart.mean(axis=0) / apart.std(axis=0)).max() < 5 / np.sqrt(len(cells))
    spread = apart.var(axis=0)
    assert spread.max() / spread.min() < (1 + 5 * np.sqrt(2 / len(cells))) ** 2
    cosines = np.stack(
        [metric[:, i, j] / np.sqrt(metric[:, i, i] * metric[:, j, j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    )
    assert np.abs(cosines.mean(axis=1) / cosines.std(axis=1)).max() < 5 / np.sqrt(len(cells))
