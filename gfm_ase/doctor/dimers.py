"""Two atoms and the distance between them: curves of energy and force, holes, spurious minima, where they end."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from gfm_ase.doctor.findings import SEVERITY, Finding, Verdict
from gfm_ase.doctor.subject import Answer, Floats, Subject

SPACING = 0.03
"""Å between points of a curve."""

FARTHEST = 12.0
"""Å; where a calculator does not tell its cutoff, curves go that far."""

MAX_PAIRS = 10
SHORTEST, NEAREST = 0.4, 0.7
"""Of the sum of covalent radii: curves begin there; no bond is shorter than that (N≡N 0.77, H–H 1.19, Cu–Cu 0.84)."""

FALL = 0.1
"""eV: what counts as falling; four times kT at 300 K."""

ACCESSIBLE = 5.0
"""eV: a barrier that collisions pass; 10 kT at 5800 K."""

SPURIOUS = 0.05
"""eV: depth of a second minimum that counts, 2 kT at 300 K."""

SOURCE = (
    "nearer than 0.7 of the sum of covalent radii (no bond is shorter) the energy must not fall by 0.1 eV; behind a"
    " barrier of more than 5 eV (10 kT at 5800 K) it is a warning, and so is a second minimum deeper than 0.05 eV"
)


@dataclass(frozen=True)
class Curve:
    """Energy (eV, zero at the largest distance) and force along the bond (eV/Å, positive drives apart) by distance.

    `bonded` is the sum of covalent radii, `end` where the interaction ends; Å.
    """

    pair: tuple[str, str]
    distances: Floats
    energies: Floats
    forces: Floats
    bonded: float
    end: float

    @property
    def name(self) -> str:
        """Such as Cu–O."""
        return "–".join(self.pair)


def dimer(pair: tuple[str, str], distance: float) -> Atoms:
    """Two atoms along an axis of no symmetry, in no cell."""
    way = np.array([0.48, 0.6, 0.64])
    return Atoms(pair, positions=[np.zeros(3), distance * way])


def bond_force(answer: Answer) -> float:
    """eV/Å on the second atom, away from the first."""
    return float(answer.forces[1] @ np.array([0.48, 0.6, 0.64]))


def pairs_of(subject: Subject) -> tuple[list[tuple[str, str]], int]:
    """Pairs of elements in the structures, those of frequent elements first, and how many are left out."""
    counts: Counter[str] = Counter()
    for atoms in subject.structures.values():
        counts.update(atoms.get_chemical_symbols())
    symbols = [symbol for symbol, _ in counts.most_common()]
    rank = {symbol: index for index, symbol in enumerate(symbols)}
    pairs = list(itertools.combinations_with_replacement(symbols, 2))
    pairs.sort(key=lambda pair: (max(rank[symbol] for symbol in pair), rank[pair[0]]))
    most = 3 if subject.quick else MAX_PAIRS
    return pairs[:most], max(0, len(pairs) - most)


def curves(subject: Subject) -> list[Curve]:
    """The curves of all pairs; computed once."""
    if "curves" not in subject.kept:
        subject.kept["curves"] = [_curve(subject, pair) for pair in pairs_of(subject)[0]]
    found: list[Curve] = subject.kept["curves"]
    return found


def _curve(subject: Subject, pair: tuple[str, str]) -> Curve:
    bonded = float(sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair))
    farthest = FARTHEST if subject.told_cutoff is None else subject.told_cutoff + 10 * SPACING
    distances = np.arange(SHORTEST * bonded, max(farthest, bonded + 1.0), SPACING)
    answers = subject.many([dimer(pair, float(distance)) for distance in distances])
    energies = np.array([answer.energy for answer in answers])
    forces = np.array([bond_force(answer) for answer in answers])
    noise = 10 * subject.noise(dimer(pair, 1.2 * bonded)).forces + 1e-12
    acting = np.flatnonzero(np.abs(forces) > noise)
    end = float(distances[min(int(acting[-1]) + 1, len(distances) - 1)]) if len(acting) else float(distances[0])
    return Curve(pair, distances, energies - energies[-1], forces, bonded, end)


def holes(subject: Subject) -> Finding:
    """Two atoms repel each other when they come closer than any bond; the curve has one minimum."""
    found = curves(subject)
    judged = [(curve, *_judged(curve)) for curve in found]
    verdict = max((verdict for _, verdict, _ in judged), key=lambda each: SEVERITY[each])
    left_out = pairs_of(subject)[1]
    said = [f"{curve.name} {words}" for curve, which, words in judged if which == verdict and words]
    text = "; ".join(said[:6]) + (f"; and {len(said) - 6} more" if len(said) > 6 else "")
    detail = text if verdict != Verdict.PASS else f"all {len(found)} pairs repel at short range"
    detail += f"; {left_out} pairs of rarer elements were not looked at" if left_out else ""
    deepest = max(hole_of(curve)[0] for curve in found)
    data = {
        "curves": [
            {
                "pair": curve.name, "distances": curve.distances, "energies": curve.energies, "forces": curve.forces,
                "bonded": curve.bonded, "end": curve.end, "verdict": which, "words": words,
            }
            for curve, which, words in judged
        ]
    }  # fmt: skip
    return Finding(verdict, detail, deepest, FALL, "eV", SOURCE, data)


def _judged(curve: Curve) -> tuple[Verdict, str]:
    if not np.isfinite(curve.energies).all():
        wrong = curve.distances[~np.isfinite(curve.energies)]
        return Verdict.FAIL, f"has no finite energy at {wrong[0]:.2f} Å"
    fall, barrier, where = hole_of(curve)
    if fall > FALL:
        verdict = Verdict.FAIL if barrier < ACCESSIBLE else Verdict.WARN
        return verdict, f"falls by {fall:.2g} eV below {where:.2f} Å, behind a barrier of {barrier:.2g} eV"
    second = minima_of(curve)
    if len(second) > 1:
        places = ", ".join(f"{distance:.2f}" for distance in second)
        return Verdict.WARN, f"has {len(second)} minima ({places} Å)"
    return Verdict.PASS, ""


def hole_of(curve: Curve) -> tuple[float, float, float]:
    """How far the energy falls on the way in (eV), over what barrier (eV above the outer minimum), from where (Å)."""
    inside = curve.distances < NEAREST * curve.bonded
    inward = curve.energies[inside][::-1]
    highest = np.maximum.accumulate(inward)
    falls = highest - inward
    first = int(np.argmax(falls > FALL)) if (falls > FALL).any() else 0
    barrier = float(highest[first] - curve.energies[~inside].min())
    place = int(np.argmax(inward[: first + 1]))
    return float(falls.max()), barrier, float(curve.distances[inside][::-1][place])


def minima_of(curve: Curve) -> list[float]:
    """Distances (Å) of minima beyond the shortest bond that are deeper than `SPURIOUS` on both sides."""
    outside = curve.distances >= NEAREST * curve.bonded
    energies, distances = curve.energies[outside], curve.distances[outside]
    found = []
    for index in range(1, len(energies) - 1):
        if not energies[index - 1] > energies[index] <= energies[index + 1]:
            continue
        lower = np.flatnonzero(energies < energies[index])
        left = lower[lower < index].max(initial=-1) + 1
        right = lower[lower > index].min(initial=len(energies))
        walls = energies[left:index].max(initial=-np.inf), energies[index:right].max(initial=-np.inf)
        if min(walls) - energies[index] > SPURIOUS:
            found.append(float(distances[index]))
    return found
