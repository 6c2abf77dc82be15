"""What the files of finished runs say: bonds, temperatures, distances, atoms that have left their sites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import iread

from benchmarks.card.subject import Record, Subject
from benchmarks.molecules.bonds import Bonds, watched
from benchmarks.molecules.distances import Distances, density_of, difference
from gfm_ase.curves import read_md_log
from md_workflows.analysis.blocks import average
from md_workflows.batch_files import BatchFiles
from md_workflows.md_many import MDOutcome

SETTLING = 0.1
"""Part of a run that is left out of temperatures and distances."""

AWAY = 0.5
"""Of the distance of neighbours: an atom farther than that from its site has left it."""


Run = tuple[MDOutcome, BatchFiles, int]
"""How a run ended, and where its files are: the folder and its number."""


def of_molecule(start: Atoms, runs: Sequence[Run], frame_ps: float) -> Record:
    """Bonds and temperature of the runs of one molecule together, until a bond breaks."""
    bonds = Bonds.of(start)
    failed, largest, transfers, frames = [], 0.0, 0, 0
    temperatures: list[float] = []
    for outcome, files, place in runs:
        held = watched(bonds, positions_of(files, place))
        if held.failed_at is not None:
            failed.append(held.failed_at * frame_ps)
        elif outcome.stopped:
            failed.append(outcome.time_fs / 1000)
        largest, transfers, frames = max(largest, held.largest), transfers + held.transfers, frames + held.frames
        log = read_md_log(log_of(files, place))["temperature_K"]
        temperatures += log[round(SETTLING * len(log)) : held.failed_at].tolist()
    return {
        "atoms": len(start),
        "bonds": len(bonds.pairs),
        "failed_ps": sorted(failed),
        "stopped": [outcome.stopped for outcome, _, _ in runs if outcome.stopped],
        "largest": largest,
        "transfers": transfers / max(1, frames),
        **temperature_of(temperatures),
    }


def against_dft(subject: Subject, name: str, start: Atoms, runs: Sequence[Run]) -> Record:
    """h(r) until a bond breaks beside that of the test frames; bonds in these, measured alike; the curves."""
    bonds, mine = Bonds.of(start), Distances()
    for _, files, place in runs:
        positions = list(positions_of(files, place))
        for frame in positions[round(SETTLING * len(positions)) : watched(bonds, positions).failed_at]:
            mine.add(frame)
    test, train = (dft_positions(subject, f"rmd17/{name}_{part}.extxyz.gz") for part in ("test", "train"))
    reference = density_of(test)
    return {
        "dft_largest": max(bonds.deviation(frame)[0] for frame in test),
        "dft_transfers": sum(bonds.deviation(frame)[1] for frame in test) / len(test),
        **_distances(mine, reference, density_of(train)),
    }


def dft_positions(subject: Subject, file: str) -> Any:
    """[F, N, 3] Å of a file; kept beside the runs, for reading 1,000 frames takes seconds."""
    kept = subject.work / f"{file.replace('/', '_').removesuffix('.extxyz.gz')}.npy"
    if not kept.exists():
        np.save(kept, np.stack([atoms.positions for atoms in subject.read(file)]))
    return np.load(kept)


def temperature_of(samples: list[float]) -> Record:
    """Mean and standard error by blocks, K; none of fewer than two samples."""
    if len(samples) < 2:
        return {"mean_K": None, "error_K": None}
    found = average(np.array(samples))
    return {"mean_K": found.mean, "error_K": found.error}


def _distances(mine: Distances, reference: Distances, other: Distances) -> Record:
    """Error of h(r), that of DFT's own training frames beside, and the curves."""
    noise, curves = difference(other, reference), {"dft": reference.density().tolist()}
    try:
        curves["md"] = mine.density().tolist()
    except ValueError:  # a bond broke before anything settled
        return {"h_error": None, "h_noise": noise, "curves": curves}
    return {"h_error": difference(mine, reference), "h_noise": noise, "curves": curves}


def positions_of(files: BatchFiles, place: int) -> Iterator[Any]:
    """[N, 3] Å of each frame."""
    path = files.frames_of(place)
    assert path is not None
    for atoms in iread(path):
        yield atoms.positions


def log_of(files: BatchFiles, place: int) -> Path:
    """The log of one run."""
    path = files.log_of(place)
    assert path is not None
    return path


def left_sites(start: Atoms, frames: Iterator[Any]) -> tuple[int | None, float]:
    """The first frame with an atom away from its site, and the largest displacement over the distance of neighbours.

    The crystal as a whole may drift: what all atoms share is taken off.
    """
    distances = start.get_all_distances(mic=True)
    neighbour, farthest = float(distances[distances > 0.1].min()), 0.0
    for place, positions in enumerate(frames):
        moved = positions - start.positions
        moved -= moved.mean(axis=0)
        ratio = float(np.linalg.norm(moved, axis=1).max()) / neighbour
        if not ratio <= AWAY:
            return place, ratio
        farthest = max(farthest, ratio)
    return None, farthest
