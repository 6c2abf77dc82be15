"""How long a call takes, by size; the first call; memory."""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
from ase import Atoms

from gfm_ase.doctor.findings import Finding, Verdict
from gfm_ase.doctor.subject import Subject

SIZES = (8, 64, 256, 1000)
CALLS = 5
LONGEST = 5.0
"""Seconds of a call beyond which no larger structure is tried."""


def speed(subject: Subject) -> Finding:
    """Median time of calls of moving atoms, energy and forces, for a few sizes."""
    name, atoms = _choose(subject)
    before = peak_memory()
    rows: list[dict[str, float]] = []
    for size in SIZES[:2] if subject.quick else SIZES:
        large = grown(atoms, size)
        if rows and len(large) <= rows[-1]["atoms"]:
            continue
        seconds = _seconds(subject, large)
        rows.append({"atoms": len(large), "ms": 1e3 * seconds, "us_per_atom": 1e6 * seconds / len(large)})
        if seconds * (SIZES[-1] / size) > 10 * LONGEST or seconds > LONGEST:
            break
    assert subject.first_call is not None
    first, count = subject.first_call
    last = rows[-1]
    detail = (
        f"{last['ms']:.3g} ms for {last['atoms']} atoms, {last['us_per_atom']:.3g} µs/atom; first call of all"
        f" {first:.2g} s ({count} atoms); peak memory {peak_memory():.0f} MB, {peak_memory() - before:.0f} MB"
        f" of it here ({name} repeated)"
    )
    source = "a figure of this machine as it is now; no threshold"
    data = {"sizes": rows, "first_call_s": first, "peak_memory_MB": peak_memory()}
    return Finding(Verdict.INFO, detail, float(last["us_per_atom"]), None, "µs/atom", source, data)


def peak_memory() -> float:
    """MB, of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024**2)


def _choose(subject: Subject) -> tuple[str, Atoms]:
    """A crystal where there is one: it can be repeated."""
    crystals = [(name, atoms) for name, atoms in subject.structures.items() if atoms.pbc.all()]
    return crystals[0] if crystals else next(iter(subject.structures.items()))


def grown(atoms: Atoms, size: int) -> Atoms:
    """Crystals repeated along their shortest vectors, molecules set beside each other, up to a number of atoms."""
    work = atoms.copy()
    if not work.pbc.all():
        spans = np.ptp(work.positions, axis=0) + 4.0
        work.pbc = False
        work.cell = np.diag(spans)
    while 2 * len(work) <= max(size, len(atoms)):
        repeat = [1, 1, 1]
        repeat[int(np.argmin(work.cell.lengths()))] = 2
        work = work * repeat
    if not atoms.pbc.all():
        work.cell = None
    return work


def _seconds(subject: Subject, atoms: Atoms) -> float:
    work = subject.attached(atoms)
    random = np.random.default_rng(subject.seed)
    taken = []
    for _ in range(CALLS + 1):  # the first makes what calculators keep for a structure
        work.positions += random.normal(0, 1e-3, work.positions.shape)
        start = time.perf_counter()
        work.get_potential_energy()
        work.get_forces()
        taken.append(time.perf_counter() - start)
        subject.calls += 1
        if taken[-1] > LONGEST:
            break
    return float(np.median(taken[1:] or taken))
