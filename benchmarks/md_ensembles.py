"""What the batched integrators sample, against statistical mechanics: the figures of docs/dynamics.md, and its picture.

    python -m benchmarks.md_ensembles [--replicas 800] [--picture docs/pictures/md_ensembles.png]

Many replicas of a small system at once. A crystal of four atoms with anharmonic springs is sampled at two temperatures
(and pressures), and given to `physical_validation`: its kinetic energies against their distribution, and its potential
energies, or volumes, at one temperature against those at the other. An ideal gas of eight atoms is compared with the
volume distribution that it has, V^M exp(-PV/kT), M = N with a thermostat that moves the centre of mass, else N - 1.
What scales all momenta alike begins where Langevin dynamics of the same ensemble end: by itself it forgets how it began
only slowly, in crystals whose modes hardly exchange energy.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from scipy import stats

from md_workflows import ensembles
from md_workflows.batched.fleet import DOUBLE, Fleet
from tests.md_workflows.fleets import IdealGas, Samples, advance, crystal, gas, lattice_of, launch, sample, stop

LOW, HIGH, PRESSED = 800.0, 1200.0, 6.0
STEP_FS, GAS_K, GAS_ATOMS = 2.0, 300.0, 8
GAS_PRESSURE = GAS_ATOMS * units.kB * GAS_K / 20.0**3

BATH = {"tdamp_fs": 20.0}
CELL = {"pdamp_fs": 50.0}
NOISE = {"friction_per_fs": 0.04}
MAKERS: dict[str, partial[Any]] = {
    "langevin": partial(ensembles.Langevin, **NOISE),
    "bussi": partial(ensembles.Bussi, **BATH),
    "nose_hoover_chain": partial(ensembles.NoseHooverChain, **BATH),
    "npt_isotropic": partial(ensembles.NPTIsotropic, **BATH, **CELL),
    "npt": partial(ensembles.NPT, **BATH, **CELL),
    "npt, degrees ase": partial(ensembles.NPT, **BATH, **CELL, degrees="ase"),
    "npt_langevin_isotropic": partial(ensembles.NPTLangevinIsotropic, **NOISE, **CELL, cell_friction_per_fs=0.02),
    "npt_langevin": partial(ensembles.NPTLangevin, **NOISE, **CELL, cell_friction_per_fs=0.02),
}


def settings_of(name: str, replicas: int, **held: float) -> list[Any]:
    """As many, each with a seed of its own where there is one."""
    make = MAKERS[name]
    seeded = "seed" in make.func.model_fields
    return [make(**held, **({"seed": seed} if seeded else {})) for seed in range(replicas)]


def begin(name: str, structures: list[Atoms], model: Any, held: dict[str, float]) -> tuple[Fleet, Any]:
    """A fleet to sample: without noise on each atom, one that has been through Langevin dynamics, with warm chains."""
    settings = settings_of(name, len(structures), **held)
    if "langevin" in name:
        return launch(structures, settings, STEP_FS, model)
    before = {"npt_isotropic": "npt_langevin_isotropic"}.get(name, "npt_langevin" if "npt" in name else "langevin")
    past, integrator = launch(structures, settings_of(before, len(structures), **held), STEP_FS, model)
    advance(past, integrator, model, 400)
    found = [past.atoms(row) for row in range(len(structures))]
    for atoms in found:
        stop(atoms)
    fleet, integrator = launch(found, settings, STEP_FS, model)
    for chain in (getattr(integrator, part, None) for part in ("_thermostat", "_barostat")):
        if chain is not None:
            warm_up(chain, fleet)
    if "cell_momentum" in past.graph:
        fleet.graph["cell_momentum"].copy_(past.graph["cell_momentum"])
    return fleet, integrator


def warm_up(chain: Any, fleet: Fleet) -> None:
    """Thermal momenta of a chain, which begins at rest."""
    momenta = chain._column(fleet, "momenta")
    drawn = torch.randn(momenta.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    momenta.copy_(drawn * (chain._masses(fleet) * fleet.graph["kT"][:, None]).sqrt())


def of_crystal(name: str, replicas: int, times: int, **held: float) -> Samples:
    """A crystal of four atoms, each replica at the same temperature and pressure."""
    temperature = held["temperature_K"]
    structures = [crystal(seed, temperature) for seed in range(replicas)]
    model = lattice_of(structures[0])
    fleet, integrator = begin(name, structures, model, held)
    return sample(fleet, integrator, model, 250, 80, times)


def of_gas(name: str, replicas: int, times: int) -> Samples:
    """An ideal gas of eight atoms."""
    held = {"temperature_K": GAS_K, "pressure_GPa": GAS_PRESSURE / units.GPa}
    structures = [gas(seed, GAS_ATOMS) for seed in range(replicas)]
    fleet, integrator = begin(name, structures, IdealGas(), held)
    return sample(fleet, integrator, IdealGas(), 400, 150, times)


def validation_data(samples: Samples, atoms: int, temperature: float, pressure: float | None = None) -> Any:
    """Samples as `physical_validation` takes them; pressure in eV/Å³."""
    logging.disable(logging.WARNING)  # pymbar recommends JAX at each import
    import physical_validation as pv

    energy, bar = 96.48533, units.bar
    unit = pv.data.UnitData(
        units.kB, energy, 0.1, 1e-3, 1.0, 1 / bar, 1e-3 / units.fs, "eV", "Å", "Å³", "K", "eV/Å³", "t"
    )
    system = pv.data.SystemData(atoms, 0, 3 * atoms - samples.freedom, 0)
    ensemble = pv.data.EnsembleData(
        "NVT" if pressure is None else "NPT", atoms, None, 100.0, pressure, temperature=temperature
    )
    kinetic, potential = samples.kinetic.ravel(), samples.potential.ravel()
    observed = pv.data.ObservableData(kinetic, potential, kinetic + potential, samples.volume.ravel())
    return pv.data.SimulationData(unit, 1.0, system, ensemble, observed)


def check_kinetic(samples: Samples, atoms: int, temperature: float, strict: bool) -> Any:
    """`physical_validation`: p of the distribution (strict), or deviations of mean and width in standard errors."""
    import physical_validation as pv

    data = validation_data(samples, atoms, temperature)
    return pv.kinetic_energy.distribution(
        data, strict=strict, verbosity=0, data_is_uncorrelated=True, bootstrap_seed=1, bs_repetitions=200
    )


def check_ensemble(first: Samples, second: Samples, atoms: int, held: tuple[Any, Any]) -> list[float]:
    """`physical_validation`: how many standard errors the ratio of two distributions lies from theory."""
    import physical_validation as pv

    data = [validation_data(samples, atoms, *at) for samples, at in zip((first, second), held, strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):
        found = pv.ensemble.check(*data, data_is_uncorrelated=True, bootstrap_seed=1, verbosity=0)
    return [float(value) for value in found]


def row(name: str, replicas: int, times: int) -> tuple[str, dict[str, Any]]:
    """One row of the table, and samples for the picture."""
    has_cell = name.startswith("npt")
    pressure = {"pressure_GPa": 0.0} if has_cell else {}
    cold = of_crystal(name, replicas, times, temperature_K=LOW, **pressure)
    hot = of_crystal(name, replicas, times, temperature_K=HIGH, **pressure)
    p = check_kinetic(cold, 4, LOW, True)
    mean, width = (found for found in check_kinetic(cold, 4, LOW, False))
    zero = (0.0,) if has_cell else ()
    temperatures = check_ensemble(cold, hot, 4, ((LOW, *zero), (HIGH, *zero)))
    cells = [name, f"{cold.freedom}", f"{p:.2f}", f"{mean:.1f}, {width:.1f}", f"{temperatures[0]:.1f}"]
    pictured: dict[str, Any] = {"kinetic": cold}
    if has_cell:
        pressed = of_crystal(name, replicas, times, temperature_K=LOW, pressure_GPa=PRESSED)
        pressures = check_ensemble(cold, pressed, 4, ((LOW, 0.0), (LOW, PRESSED * units.GPa)))
        volumes = of_gas(name, replicas, times)
        pictured["gas"] = volumes
        shape = GAS_ATOMS + (volumes.freedom == 3 * GAS_ATOMS)
        x = volumes.volume.ravel() * GAS_PRESSURE / (units.kB * GAS_K)
        p_gas = stats.kstest(volumes.volume[-1] * GAS_PRESSURE / (units.kB * GAS_K), "gamma", (shape,)).pvalue
        cells += [f"{pressures[0]:.1f}", f"{x.mean() / shape:.3f}", f"{x.var() / shape:.3f}", f"{p_gas:.2f}"]
    else:
        cells += ["–"] * 4
    drift = np.abs(cold.conserved[-1] - cold.conserved[0]).mean() / 4 / (units.kB * LOW)
    return f"| {' | '.join([*cells, f'{drift:.1e}'])} |", pictured


def picture(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Kinetic energies of the crystal and volumes of the gas, against theory."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    shades = plt.get_cmap("tab10")
    for place, (name, samples) in enumerate(found.items()):
        _curve(axes[0], samples["kinetic"].kelvin / LOW, np.linspace(0, 35, 36), shades(place), name)
        if "gas" in samples:
            x = samples["gas"].volume.ravel() * GAS_PRESSURE / (units.kB * GAS_K)
            _curve(axes[1], x, np.linspace(0, 24, 33), shades(place), name)
    grid = np.linspace(0.01, 35, 400)
    for degrees, dash in ((9, "-"), (12, "--")):
        axes[0].plot(
            grid, stats.chi2.pdf(grid, degrees), "k" + dash, lw=1, label=f"theory, {degrees} degrees of freedom"
        )
    for shape, dash in ((GAS_ATOMS, "-"), (GAS_ATOMS + 1, "--")):
        axes[1].plot(grid, stats.gamma.pdf(grid, shape), "k" + dash, lw=1, label=f"theory, V^{shape - 1} exp(-PV/kT)")
    axes[0].set(xlabel="2 K / kT", ylabel="density", xlim=(0, 35), title=f"crystal of 4 atoms, {LOW:g} K")
    axes[1].set(xlabel="P V / kT", xlim=(0, 24), title=f"ideal gas of {GAS_ATOMS} atoms, {GAS_K:g} K")
    for axis in axes:
        axis.legend(fontsize=7.5, frameon=False)
        axis.set_ylim(bottom=0)
    beside = path.with_name("." + path.name)
    figure.savefig(beside, dpi=110, format="png")
    beside.rename(path)


def _curve(axis: Any, values: Any, bins: Any, colour: Any, name: str) -> None:
    density, _ = np.histogram(values, bins, density=True)
    axis.plot((bins[1:] + bins[:-1]) / 2, density, "o", ms=3.5, color=colour, label=name)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=800)
    parser.add_argument("--times", type=int, default=1, help="how often each replica is looked at")
    parser.add_argument("--picture", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    heads = ("ensemble", "degrees", "kinetic p", "mean, width (σ)", "two T (σ)", "two P (σ)")
    print(f"| {' | '.join((*heads, 'gas <V>', 'gas var V', 'gas p', 'drift'))} |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    found = {}
    for name in MAKERS:
        line, found[name] = row(name, options.replicas, options.times)
        print(line, flush=True)
    if options.picture is not None:
        picture(found, options.picture)


if __name__ == "__main__":
    main()
