"""Jumps in energy and force: along the bond of two atoms, and as an atom moves among others.

A coarse scan shows where something may jump; halving such an interval tells a jump, which stays, from a steep place,
which shrinks with the interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from gfm_ase.doctor.dimers import bond_force, curves, dimer
from gfm_ase.doctor.findings import Finding, Skipped, Verdict
from gfm_ase.doctor.subject import Floats, Subject

PARTS, HALVINGS = 8, 13
CANDIDATES = 3
HARMFUL_JUMP = 2.5e-3
"""eV: a tenth of kT at 300 K."""

HARMFUL_KINK = 0.05
"""eV/Å: as large as the errors of forces of good potentials."""

SOURCE = (
    "the noise of both ends and the slope across the last interval (1e-6 Å or less); a warning up to 2.5 meV, kT/10 at"
    " 300 K (energy), 0.05 eV/Å (forces)"
)

PATH_LENGTH, PATH_POINTS = 1.2, 61
"""Å, and points of the scan within a structure."""

At = Callable[[Sequence[float]], Floats]
"""[P, 2] energy (eV) and force along the way (eV/Å) at places on it (Å)."""


@dataclass(frozen=True)
class Jump:
    """The largest jump of a way: of energy (eV) and of force (eV/Å), where (Å), and what noise would make."""

    energy: float
    energy_at: float
    energy_noise: float
    force: float
    force_at: float
    force_noise: float

    @property
    def verdict(self) -> Verdict:
        """Failed where the energy or the force jumps so that dynamics notice, warned where it jumps at all."""
        if not np.isfinite([self.energy, self.force]).all():
            return Verdict.FAIL
        if self.energy > max(HARMFUL_JUMP, self.energy_noise) or self.force > max(HARMFUL_KINK, self.force_noise):
            return Verdict.FAIL
        return Verdict.WARN if self.energy > self.energy_noise or self.force > self.force_noise else Verdict.PASS


def hunt(at: At, places: Floats, values: Floats, noise: tuple[float, float], also: Sequence[int] = ()) -> Jump:
    """The largest jumps within a scan of places [P] and values [P, 2] (energy, force).

    Intervals in `also` are looked into in any case.
    """
    found = []
    for column in (0, 1):
        best = (0.0, float(places[0]), 0.0)
        for index in dict.fromkeys([*_suspects(values[:, column]), *also]):
            low, high = float(places[index]), float(places[index + 1])
            jump, place, steepness = _halved(at, low, high, column)
            allowed = 20 * noise[column] + 4 * steepness + 1e-11
            if not jump - allowed <= best[0] - best[2]:
                best = (jump, place, allowed)
        found.append(best)
    (energy, energy_at, energy_noise), (force, force_at, force_noise) = found
    return Jump(energy, energy_at, energy_noise or 20 * noise[0], force, force_at, force_noise or 20 * noise[1])


def _suspects(values: Floats) -> list[int]:
    """Intervals whose change sticks out among its neighbours', and those of the largest third differences."""
    if not np.isfinite(values).all():
        return [_broken(values)]
    change = np.diff(values)
    odd = np.abs(change[1:-1] - 0.5 * (change[:-2] + change[2:]))
    around = np.median(np.stack([np.roll(odd, shift) for shift in (-5, -4, -3, 3, 4, 5)]), axis=0)
    relative = odd / (around + 1e-9 * (1 + np.abs(values).max()))
    first = np.argsort(-relative)[:CANDIDATES].tolist()
    second = np.argsort(-odd)[:CANDIDATES].tolist()
    return [index + 1 for index in dict.fromkeys([*first, *second])]


def _halved(at: At, low: float, high: float, column: int) -> tuple[float, float, float]:
    """The change that is left in the smallest interval, its place, and what a smooth function would change there."""
    places = np.linspace(low, high, PARTS + 1)
    values = at(places.tolist())[:, column]
    odd = int(np.argmax(_off_the_line(np.diff(values)))) if np.isfinite(values).all() else _broken(values)
    low, high = float(places[odd]), float(places[odd + 1])
    ends = float(values[odd]), float(values[odd + 1])
    # a jump against the slope makes a half change less, not more: halves are compared with what a slope would make
    smooth, steepness = float(np.median(np.diff(values))), 0.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        value = float(at([middle])[0, column])
        smooth *= 0.5
        left, right = value - ends[0], ends[1] - value
        if not abs(left - smooth) <= abs(right - smooth):
            high, ends, steepness = middle, (ends[0], value), abs(right)
        else:
            low, ends, steepness = middle, (value, ends[1]), abs(left)
        # the quieter half tells what a smooth function changes in the other
    return abs(ends[1] - ends[0]), 0.5 * (low + high), steepness


def _off_the_line(changes: Floats) -> Floats:
    """How far changes in equal parts are from the straight line that those of a smooth function follow."""
    index = np.arange(len(changes))
    off: Floats = np.abs(changes - np.polyval(np.polyfit(index, changes, 1), index))
    return off


def _broken(values: Floats) -> int:
    """The interval in which values stop, or begin, to be numbers."""
    return int(min(max(0, int(np.argmax(~np.isfinite(values))) - 1), len(values) - 2))


def dimer_scan(subject: Subject) -> Finding:
    """Two atoms: neither energy nor force jumps, at the cutoff or elsewhere."""
    told = subject.told_cutoff
    jumps: list[tuple[str, Jump]] = []
    found = curves(subject)
    for curve in found:

        def at(distances: Sequence[float], pair: tuple[str, str] = curve.pair) -> Floats:
            answers = subject.many([dimer(pair, distance) for distance in distances])
            return np.array([(answer.energy, bond_force(answer)) for answer in answers])

        noise = subject.noise(dimer(curve.pair, 1.2 * curve.bonded))
        sensible = curve.distances >= 0.6 * curve.bonded
        values = np.stack([curve.energies, curve.forces], axis=1)[sensible]
        places = curve.distances[sensible]
        end = int(np.clip(np.searchsorted(places, curve.end) - 1, 1, len(places) - 2))
        ending = [end - 1, end, *([] if told is None else _where(places, told))]
        jumps.append((curve.name, hunt(at, places, values, (noise.energy, noise.forces), ending)))
    ends = max(curve.end for curve in found)
    if told is not None:
        words = f"interactions end at {ends:.2f} Å, the cutoff that it tells is {told:g} Å"
    else:
        far = any(curve.end >= curve.distances[-1] - 1e-9 for curve in found)
        words = "two atoms still act on each other at 12 Å" if far else f"two atoms no longer interact at {ends:.2f} Å"
    return _finding(jumps, words, {"cutoff": ends})


def _where(places: Floats, distance: float) -> list[int]:
    """The interval that a distance lies in."""
    index = int(np.searchsorted(places, distance)) - 1
    return [index] if 0 <= index < len(places) - 1 else []


def _finding(jumps: list[tuple[str, Jump]], words: str, data: dict[str, Any]) -> Finding:
    order = {Verdict.PASS: 1, Verdict.WARN: 2, Verdict.FAIL: 3}
    name, worst = max(jumps, key=lambda each: (order[each[1].verdict], each[1].energy, each[1].force))
    data = {**data, "jumps": [{"what": what, **vars(jump)} for what, jump in jumps]}
    if not np.isfinite(worst.energy) or worst.energy > worst.energy_noise:
        detail = f"{name}: the energy jumps by {worst.energy:.2g} eV at {worst.energy_at:.3f} Å; {words}"
        return Finding(worst.verdict, detail, worst.energy, worst.energy_noise, "eV", SOURCE, data)
    if not np.isfinite(worst.force) or worst.force > worst.force_noise:
        detail = f"{name}: the force jumps by {worst.force:.2g} eV/Å at {worst.force_at:.3f} Å; {words}"
        return Finding(worst.verdict, detail, worst.force, worst.force_noise, "eV/Å", SOURCE, data)
    detail = f"no jump in {len(jumps)} scans; {words}"
    return Finding(Verdict.PASS, detail, worst.energy, worst.energy_noise, "eV", SOURCE, data)


def path_scan(subject: Subject) -> Finding:
    """An atom that moves among others makes no jump as neighbours come and go."""
    jumps, paths = [], []
    cutoff = max(curve.end for curve in curves(subject)) if subject.told_cutoff is None else subject.told_cutoff
    several = {name: atoms for name, atoms in subject.structures.items() if len(atoms) > 1 or atoms.pbc.any()}
    if not several:
        raise Skipped("all structures are single atoms")
    for name, atoms in subject.some(several, 3).items():
        work = enlarged(atoms)
        way = _way(work, subject.seed)

        def at(places: Sequence[float], work: Atoms = work, way: Floats = way) -> Floats:
            answers = subject.many([_first_moved(work, place * way) for place in places])
            return np.array([(answer.energy, float(answer.forces[0] @ way)) for answer in answers])

        places = np.linspace(-0.5, 0.5, PATH_POINTS) * PATH_LENGTH
        values = at(places.tolist())
        noise = subject.noise(work)
        entering = _entering(work, way, places, cutoff)
        jumps.append((name, hunt(at, places, values, (noise.energy, noise.forces), entering)))
        paths.append({"structure": name, "places": places, "energies": values[:, 0], "forces": values[:, 1]})
    return _finding(jumps, f"an atom moved by {PATH_LENGTH} Å among its neighbours", {"paths": paths})


def _first_moved(atoms: Atoms, way: Floats) -> Atoms:
    other = atoms.copy()
    other.positions[0] += way
    return other


def _entering(atoms: Atoms, way: Floats, places: Floats, cutoff: float) -> list[int]:
    """Some intervals of a path in which neighbours come or go."""
    from potentials.neighbours import neighbour_list

    counts = []
    for place in places:
        positions = atoms.positions.copy()
        positions[0] += place * way
        counts.append(int((neighbour_list(positions, atoms.cell.array, atoms.pbc, cutoff).centre == 0).sum()))
    changes = np.flatnonzero(np.diff(counts))
    return [int(index) for index in changes[:: max(1, len(changes) // 4)][:4]]


def enlarged(atoms: Atoms, fewest: int = 8) -> Atoms:
    """A small crystal repeated, so that one atom of it can move by itself."""
    if not atoms.pbc.any():
        return atoms
    work = atoms.copy()
    while len(work) < fewest:
        lengths = np.where(work.pbc, work.cell.lengths(), np.inf)
        repeat = np.ones(3, dtype=int)
        repeat[int(np.argmin(lengths))] = 2
        work = work * repeat.tolist()
    return work


def _way(atoms: Atoms, seed: int) -> Floats:
    """The direction, of some random ones, along which atom 0 keeps farthest from all others."""
    random = np.random.default_rng(seed + 4)
    ways = random.normal(size=(40, 3))
    ways /= np.linalg.norm(ways, axis=1)[:, None]
    closest = []
    for way in ways:
        nearest = np.inf
        for place in (-0.5, -0.25, 0.25, 0.5):
            other = _first_moved(atoms, place * PATH_LENGTH * way)
            nearest = min(nearest, float(other.get_distances(0, range(1, len(other)), mic=True).min(initial=np.inf)))
        closest.append(nearest)
    best: Floats = ways[int(np.argmax(closest))]
    return best
