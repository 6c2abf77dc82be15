"""Relaxation as MatCalc does it: FIRE, atoms and cell, to 0.05 eV/Å."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from benchmarks.matcalc.lists import Row, bare, name_of
from md_workflows.cell import CellSettings
from md_workflows.engine import Engine
from md_workflows.properties.base import Measured
from md_workflows.properties.stream import done_of
from md_workflows.relaxation import RelaxResult, RelaxSettings

FMAX = 0.05
"""eV/Å."""

STEPS = 500
"""At most; 5,000 before phonons."""

NOT_RELAXED = "not relaxed"
CELL_NOT_RELAXED = "cell not relaxed"


def relax(structures: Sequence[Atoms], engine: Engine, steps: int = STEPS) -> list[RelaxResult | str]:
    """What became of each, in their order: the last geometry, relaxed or not, or why there is none."""
    settings = RelaxSettings(optimizer="fire", fmax=FMAX, max_steps=steps, cell=CellSettings())
    done: list[RelaxResult | str] = ["no outcome came back"] * len(structures)
    for outcome in engine.relax_many(structures, settings):
        result = outcome.result
        finite = result is not None and np.isfinite(result.energy) and np.isfinite(result.fmax)
        done[outcome.index] = result if finite and result is not None else str(done_of(outcome, settings))
    return done


def notes_of(result: RelaxResult) -> list[str]:
    """Whether the largest force on an atom is above FMAX, which MatCalc asks about, or only that on the cell."""
    force = float(np.linalg.norm(result.atoms.get_forces(apply_constraint=False), axis=1).max())
    if force > FMAX:
        return [NOT_RELAXED]
    return [] if result.converged else [CELL_NOT_RELAXED]


@dataclass(frozen=True)
class Relaxed:
    """A structure of a list, and its relaxation."""

    given: Atoms
    result: RelaxResult


def after_relaxation(
    task: str,
    structures: Sequence[Atoms],
    engine: Engine,
    measure: Callable[[list[Relaxed]], list[Measured]],
    steps: int = STEPS,
) -> list[Row]:
    """Relax structures and measure those that could be computed; all come back as rows, in their order."""
    done = relax([bare(atoms) for atoms in structures], engine, steps)
    good = [Relaxed(given, one) for given, one in zip(structures, done, strict=True) if isinstance(one, RelaxResult)]
    measured = iter(measure(good))
    rows = []
    for given, one in zip(structures, done, strict=True):
        row = Row(task, name_of(given), str(given.info.get("formula", given.symbols)))
        rows.append(row)
        if isinstance(one, str):
            row.error = one
            continue
        found = next(measured)
        row.notes = notes_of(one)
        row.notes += [name for name, value in found.values.items() if value is True]
        row.values = {name: float(value) for name, value in found.values.items() if type(value) is float}
        row.error = found.error
    return rows
