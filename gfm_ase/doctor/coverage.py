"""What lies outside of the training data: elements, and surroundings of atoms."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from gfm_ase.doctor.findings import Finding, Skipped, Verdict
from gfm_ase.doctor.fingerprints import describer
from gfm_ase.doctor.subject import Floats, Subject

RARE = 20
"""Atoms of an element in the training data below which nothing can have been learnt of its surroundings."""

PERCENTILE = 99.0
ALLOWED_SHARE = 0.05
FAR = 2.0
MOST = 4000
"""Atoms of an element that are kept of the training data: a random choice beyond."""

VARIANCE = 0.999
SOURCE = (
    "the distance to the nearest training atom, in units of the 99th percentile of that of the training atoms"
    " themselves (to other frames): 1 in 100 would lie above 1; a warning where more than 1 in 20 do, or any above 2"
)


def elements(subject: Subject) -> Finding:
    """Every element of the structures is one that the potential has seen."""
    counts: Counter[str] = Counter()
    for atoms in subject.training:
        counts.update(atoms.get_chemical_symbols())
    if subject.elements is None and not counts:
        raise Skipped("the calculator does not tell which elements it knows; give --training or --elements")
    known = set(counts) if subject.elements is None else set(subject.elements)
    asked = {symbol for atoms in subject.structures.values() for symbol in atoms.get_chemical_symbols()}
    strange = sorted(asked - known) + [f"{name}: {reason}" for name, reason in subject.refused.items()]
    words = " ".join(sorted(known)) if len(known) <= 24 else f"{len(known)} elements"
    if strange:
        detail = f"never seen: {'; '.join(strange)}; known are {words}"
        return Finding(Verdict.FAIL, detail, len(strange), 0, "", "every element must have been trained on")
    rare = sorted(f"{symbol} ({counts[symbol]})" for symbol in asked if counts and counts[symbol] < RARE)
    source = f"every element must have been trained on; a warning below {RARE} atoms of it in the training files"
    if rare:
        return Finding(Verdict.WARN, f"hardly in the training data: {', '.join(rare)} atoms", 0, 0, "", source)
    return Finding(Verdict.PASS, f"all {len(asked)} elements are known (of {words})", 0, 0, "", source)


@dataclass(frozen=True)
class Cloud:
    """Training atoms of one element: what to subtract and multiply by, points, and the distance that counts as 1."""

    mean: Floats
    turn: Floats
    points: Floats
    unit: float

    def scores(self, values: Floats) -> Floats:
        """[N] distances to the nearest point, in units."""
        return _nearest((values - self.mean) @ self.turn, self.points) / self.unit


def environments(subject: Subject) -> Finding:
    """Surroundings of the atoms of the structures are like those that were trained on."""
    if not subject.training:
        raise Skipped("a checkpoint keeps no training structures; give them with --training")
    frames = [*subject.training, *subject.structures.values()]
    symbols = sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()})
    describe, words = describer(subject, symbols)
    known = set(subject.elements) if subject.elements is not None else set(symbols)
    training = [atoms for atoms in subject.training if set(atoms.get_chemical_symbols()) <= known]
    described = [describe(atoms) for atoms in training]
    clouds = {symbol: _cloud(training, described, symbol, subject.seed) for symbol in symbols}
    scored: list[dict[str, Any]] = []
    for name, atoms in subject.structures.items():
        values = describe(atoms)
        chosen = np.array(atoms.get_chemical_symbols())
        for symbol in sorted(set(chosen)):
            cloud, members = clouds[symbol], np.flatnonzero(chosen == symbol)
            scores = np.full(len(members), np.inf) if cloud is None else cloud.scores(values[members])
            scored += [
                {"structure": name, "atom": int(member), "element": symbol, "score": float(score)}
                for member, score in zip(members, scores, strict=True)
            ]
    outside = sorted((each for each in scored if not each["score"] <= 1.0), key=lambda each: -each["score"])
    share, farthest = len(outside) / len(scored), max(each["score"] for each in scored)
    verdict = Verdict.WARN if share > ALLOWED_SHARE or farthest > FAR else Verdict.PASS
    detail = f"{len(outside)} of {len(scored)} atoms lie outside of {len(training)} training structures ({words})"
    if outside:
        first = "; ".join(f"{e['structure']} atom {e['atom']} {e['element']} {e['score']:.2f}" for e in outside[:4])
        detail += f"; farthest: {first}"
    return Finding(verdict, detail, farthest, 1.0, "", SOURCE, {"atoms": scored, "outside": outside})


def _cloud(training: list[Any], described: list[Floats], symbol: str, seed: int) -> Cloud | None:
    """The training atoms of an element in uncorrelated directions of variance 1; none where they are too few."""
    masks = [np.array(atoms.get_chemical_symbols()) == symbol for atoms in training]
    frames = np.concatenate([np.full(int(mask.sum()), index) for index, mask in enumerate(masks)] or [np.empty(0)])
    if len(frames) < RARE or len(set(frames.tolist())) < 2:
        return None
    values = np.concatenate([part[mask] for part, mask in zip(described, masks, strict=True)])
    if len(values) > MOST:
        chosen = np.sort(np.random.default_rng(seed).choice(len(values), MOST, replace=False))
        values, frames = values[chosen], frames[chosen]
    mean = values.mean(axis=0)
    _, sizes, directions = np.linalg.svd(values - mean, full_matrices=False)
    variances = sizes**2 / len(values)
    kept = int(np.searchsorted(np.cumsum(variances) / max(variances.sum(), 1e-300), VARIANCE)) + 1
    turn = directions[:kept].T / np.sqrt(np.maximum(variances[:kept], 1e-24))
    points = (values - mean) @ turn
    own = _nearest(points, points, frames)
    return Cloud(mean, turn, points, max(float(np.percentile(own, PERCENTILE)), 1e-9))


def _nearest(values: Floats, points: Floats, frames: Floats | None = None) -> Floats:
    """[N] distances to the nearest point, of another frame where frames are given."""
    found = np.empty(len(values))
    squares = (points**2).sum(axis=1)
    for start in range(0, len(values), 256):
        part = values[start : start + 256]
        distances = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ points.T
        if frames is not None:
            distances[frames[start : start + 256, None] == frames] = np.inf
        found[start : start + 256] = np.sqrt(np.maximum(distances.min(axis=1), 0.0))
    return found
