"""Dynamics at constant energy: does it drift, and does its ripple shrink with the square of the time step?"""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from gfm_ase.doctor.findings import Finding, Skipped, Verdict
from gfm_ase.doctor.smoothness import enlarged
from gfm_ase.doctor.subject import Floats, Subject
from md_workflows.attached import forget
from md_workflows.velocities import thermal_momenta

TEMPERATURE_K = 300.0
STEPS, QUICK_STEPS = 250, 80
STEPS_IN_A_PERIOD = 20.0
LONGEST_STEP_FS, SHORTEST_STEP_FS = 4.0, 0.1
DRIFT_WARN, DRIFT_FAIL = 1.0, 10.0
"""meV per atom and ps: 4 K/ps and 40 K/ps, for an atom of a solid has 3 kT (kinetic and potential)."""

RATIO_LEAST, RATIO_MOST = 2.8, 5.7
"""Half of the time step makes a quarter of the ripple; √2 is left for the phases in which the steps fall."""

SOURCE = (
    "1 meV/atom/ps heats a solid by 4 K/ps (warning), 10 by 40 K/ps (failure), and above three standard errors of the"
    " slope; ripple of velocity Verlet ∝ dt²: 4, within a factor √2"
)


def nve(subject: Subject) -> Finding:
    """Total energy in two runs of the same physical time from the same start, with a time step and its half."""
    name, atoms = _choose(subject)
    start = enlarged(atoms)
    period = shortest_period_fs(subject, start)
    step = float(np.clip(period / STEPS_IN_A_PERIOD, SHORTEST_STEP_FS, LONGEST_STEP_FS))
    steps = QUICK_STEPS if subject.quick else STEPS
    thermal_momenta(start, 2 * TEMPERATURE_K, subject.seed)
    coarse, fine = _run(subject, start, step, steps), _run(subject, start, step / 2, 2 * steps)
    data = {
        "structure": name,
        "runs": [
            {"timestep_fs": step, "times_fs": step * np.arange(len(coarse)), "energies": coarse},
            {"timestep_fs": step / 2, "times_fs": step / 2 * np.arange(len(fine)), "energies": fine},
        ],
    }
    where = f"{name}, {len(start)} atoms, {steps * step:.0f} fs from {2 * TEMPERATURE_K:.0f} K, dt {step:.2g} fs"
    if not (np.isfinite(coarse).all() and np.isfinite(fine).all()):
        return Finding(
            Verdict.FAIL, f"energies stop being finite ({where})", None, DRIFT_WARN, "meV/atom/ps", SOURCE, data
        )
    drift, error = drift_of(coarse, step)
    sizes = float(np.std(_straight(coarse))), float(np.std(_straight(fine)))
    noise = 5 * subject.noise(start).energy / len(start)
    ratio = sizes[0] / sizes[1] if sizes[1] > noise else np.nan
    verdict = _verdict(abs(drift), error, ratio)
    rippled = "at the noise" if np.isnan(ratio) else f"{1e3 * sizes[0]:.2g} meV/atom, {ratio:.1f} times that of dt/2"
    detail = f"drift {drift:+.2g} ± {error:.1g} meV/atom/ps, ripple {rippled} ({where})"
    return Finding(verdict, detail, abs(drift), max(DRIFT_WARN, 3 * error), "meV/atom/ps", SOURCE, data)


def _verdict(drift: float, error: float, ratio: float) -> Verdict:
    if drift > max(DRIFT_FAIL, 3 * error):
        return Verdict.FAIL
    odd = np.isfinite(ratio) and not RATIO_LEAST <= ratio <= RATIO_MOST
    if odd and ratio < 1.5:  # a ripple that smaller steps do not lessen is no error of the integrator
        return Verdict.FAIL
    return Verdict.WARN if odd or drift > max(DRIFT_WARN, 3 * error) else Verdict.PASS


def drift_of(energies: Floats, step_fs: float) -> tuple[float, float]:
    """Slope of energies (eV/atom) in meV/atom/ps and its standard error, from slopes of six parts.

    The ripple is correlated in time, so that residuals of one line would give too small an error.
    """
    times = 1e-3 * step_fs * np.arange(len(energies))
    slope = float(np.polyfit(times, energies, 1)[0])
    residual = energies - np.polyval(np.polyfit(times, energies, 1), times)
    blocks = np.array([block.mean() for block in np.array_split(residual, 6)])
    centres = np.array([block.mean() for block in np.array_split(times, 6)])
    spread = float(np.sqrt((blocks**2).sum() / 4 / ((centres - centres.mean()) ** 2).sum()))
    return 1e3 * slope, 1e3 * spread


def _straight(energies: Floats) -> Floats:
    """Without the drift."""
    index = np.arange(len(energies))
    left: Floats = energies - np.polyval(np.polyfit(index, energies, 1), index)
    return left


def _choose(subject: Subject) -> tuple[str, Atoms]:
    several = {name: atoms for name, atoms in subject.structures.items() if len(atoms) > 1 or atoms.pbc.any()}
    if not several:
        raise Skipped("all structures are single atoms")
    return next(iter(subject.some(several, 1).items()))


def shortest_period_fs(subject: Subject, atoms: Atoms) -> float:
    """Period of the fastest vibration, by power iteration on differences of the forces; 12 pairs of calls."""
    masses = np.sqrt(atoms.get_masses())[:, None]
    way = np.random.default_rng(subject.seed + 6).normal(size=atoms.positions.shape)
    size = 0.0
    for _ in range(12):
        way /= np.linalg.norm(way)
        shift = 0.01 * way / masses / float(np.abs(way / masses).max())
        step = float(np.linalg.norm(shift * masses))
        ahead, behind = atoms.copy(), atoms.copy()
        ahead.positions += shift
        behind.positions -= shift
        curved = -(subject.answer(ahead).forces - subject.answer(behind).forces) / (2 * step) / masses
        size = float(np.linalg.norm(curved))
        way = curved
        if not np.isfinite(size) or size == 0:
            break
    if not np.isfinite(size) or size == 0:
        return STEPS_IN_A_PERIOD  # steps of 1 fs where nothing vibrates
    return float(2 * np.pi / np.sqrt(size) / units.fs)


def _run(subject: Subject, start: Atoms, step_fs: float, steps: int) -> Floats:
    """Total energy per atom, eV, at each step."""
    work = subject.attached(start)
    forget(subject.calculator)
    dynamics = VelocityVerlet(work, timestep=step_fs * units.fs)
    energies = [(subject.energy(work) + work.get_kinetic_energy()) / len(work)]
    for _ in range(steps):
        dynamics.run(1)
        energies.append((subject.energy(work) + work.get_kinetic_energy()) / len(work))
        if not np.isfinite(energies[-1]):
            break
    subject.calls += steps + 1
    return np.array(energies, dtype=np.float64)
