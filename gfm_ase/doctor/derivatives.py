"""Forces and stress against finite differences of the energy, with an error estimate for each difference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms

from gfm_ase.doctor.findings import Finding, Skipped, Verdict
from gfm_ase.doctor.judging import Worst
from gfm_ase.doctor.subject import HARMFUL_FORCE, HARMFUL_STRESS, ROUNDING, Floats, Subject, moved

STEPS: Floats = 0.04 * 0.5 ** np.arange(8, dtype=np.float64)
"""Å: halved each time, so that one is right whatever the noise."""

STRAINS: Floats = 0.01 * 0.5 ** np.arange(8, dtype=np.float64)
SOURCE = (
    "10 × the error of the best Richardson extrapolation of central differences with eight steps (truncation, and"
    " the measured noise over the step), at least a hundredth of what does harm; {more}"
)
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
BLIND, BLIND_STRESS = 20 * HARMFUL_FORCE, 20 * HARMFUL_STRESS
"""eV/Å, eV/Å³: where the noise hides more than this, the check says so instead of passing."""


class Slope(NamedTuple):
    """A derivative and the error it may have."""

    value: float
    error: float


def slope(energies: Floats, steps: Floats, noise: float) -> Slope:
    """The derivative at 0 by Ridders' way: central differences, extrapolated; the entry of the smallest error counts.

    C. J. F. Ridders, Adv. Eng. Softw. 4, 75 (1982). An entry's error is its distance from its two parents, plus what
    noise makes of it. Steps that reach over a jump have large errors, so that smaller ones are taken.

    Args:
        energies: [2, K] eV, at plus and minus each step.
        steps: [K], each half of the one before.
        noise: eV, in each energy.
    """
    table: list[list[float]] = []
    best = Slope(np.nan, np.inf)
    for row, step in enumerate(steps):
        table.append([(energies[0, row] - energies[1, row]) / (2 * step)])
        for order in range(1, row + 1):
            weight = 4.0**order
            table[row].append((weight * table[row][order - 1] - table[row - 1][order - 1]) / (weight - 1))
            entry = table[row][order]
            spread = max(abs(entry - table[row][order - 1]), abs(entry - table[row - 1][order - 1]))
            error = spread + 2 * noise / step
            if error < best.error:
                best = Slope(entry, error)
    return best


def forces(subject: Subject) -> Finding:
    """Forces are minus the slope of the energy: single atoms along an axis, and all atoms at once."""
    worst = Worst(SOURCE.format(more="above 1 meV/Å it fails"))
    blind = 0.0
    for name, atoms in subject.some(subject.structures, 3).items():
        answer = subject.answer(atoms)
        noise = subject.noise(atoms)
        for what, way in _directions(subject, atoms, answer.forces):
            shifted = [moved(atoms, step * way) for step in [*STEPS, *-STEPS]]
            found = slope(_energies(subject, shifted), STEPS, noise.energy)
            size = max(1.0, float(np.abs(answer.forces).max()))
            bound = max(10 * (found.error + noise.forces) + ROUNDING * size, HARMFUL_FORCE / 100)
            blind = max(blind, bound)
            got = float((answer.forces * way).sum())
            harmful = max(HARMFUL_FORCE, bound)
            worst.add(f"{what} of {name}", got, -found.value, bound=bound, harmful=harmful, unit="eV/Å")
    return _unless_blind(worst.finding("forces are the slope of the energy", "no slope of the energy"), blind, BLIND)


def _energies(subject: Subject, structures: list[Atoms]) -> Floats:
    """[2, K] of structures at plus each step, then at minus each."""
    return np.array([answer.energy for answer in subject.many(structures)]).reshape(2, -1)


def _unless_blind(finding: Finding, bound: float, blind: float) -> Finding:
    if finding.verdict != Verdict.PASS or bound <= blind:
        return finding
    detail = f"noise of the energy hides differences below {bound:.2g} {finding.unit}; {finding.detail}"
    return Finding(Verdict.WARN, detail, finding.value, finding.threshold, finding.unit, finding.source)


def _directions(subject: Subject, atoms: Atoms, forces_N3: Floats) -> list[tuple[str, Floats]]:
    """Unit displacements: the atom of the largest force and some others along one axis, and all at random."""
    random = np.random.default_rng(subject.seed + 3)
    largest = int(np.argmax(np.linalg.norm(forces_N3, axis=1)))
    others = random.permutation(len(atoms))[: 1 if subject.quick else 3]
    found = []
    for index in dict.fromkeys([largest, *others.tolist()]):
        axis = int(np.argmax(np.abs(forces_N3[index])))
        way = np.zeros_like(forces_N3)
        way[index, axis] = 1.0
        found.append((f"force on atom {index} ({atoms.symbols[index]}) along {'xyz'[axis]}", way))
    way = random.normal(size=forces_N3.shape)
    return [*found, ("forces along a random direction", way / np.linalg.norm(way))]


def stress(subject: Subject) -> Finding:
    """Stress is the slope of the energy in a strain, over the volume."""
    if "stress" not in getattr(subject.calculator, "implemented_properties", ()):
        raise Skipped("the calculator gives no stress")
    worst = Worst(SOURCE.format(more="above 1e-4 eV/Å³ (0.016 GPa) it fails"))
    blind = 0.0
    for name, atoms in subject.some(subject.periodic(), 2).items():
        answer, noise, volume = subject.answer(atoms, stress=True), subject.noise(atoms), atoms.cell.volume
        assert answer.stress is not None
        rounding = ROUNDING * max(1.0, float(np.abs(answer.forces).max())) * len(atoms) * 5 / volume
        for component, (i, j) in enumerate(VOIGT):
            strained = [_strained(atoms, size, i, j) for size in [*STRAINS, *-STRAINS]]
            found = slope(_energies(subject, strained), STRAINS, noise.energy)
            bound = 10 * (found.error + noise.forces * len(atoms) * 5) / volume + rounding
            bound = max(bound, HARMFUL_STRESS / 100)
            blind = max(blind, bound)
            harmful = max(HARMFUL_STRESS, bound)
            what = f"{'xyz'[i]}{'xyz'[j]} of {name}"
            worst.add(what, answer.stress[component], found.value / volume, bound=bound, harmful=harmful, unit="eV/Å³")
    finding = worst.finding("stress is the slope of the energy", "no slope of the energy")
    return _unless_blind(finding, blind, BLIND_STRESS)


def _strained(atoms: Atoms, size: float, i: int, j: int) -> Atoms:
    strain = np.eye(3)
    strain[i, j] += size / 2
    strain[j, i] += size / 2
    other = atoms.copy()
    other.set_cell(atoms.cell.array @ strain)
    other.positions = atoms.positions @ strain
    return other
