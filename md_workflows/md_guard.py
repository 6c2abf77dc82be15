"""Stops molecular dynamics when it has left physics, and keeps the last good frame."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from md_workflows.frames import frame_of, write_frames


class MDStoppedError(ValueError):
    """A run stopped by itself: `step` is the first bad one, `atoms` the last good frame, if there is one.

    doubted: the frame of `step`, where it was stopped for its uncertainty, which it holds with those of its atoms.
    """

    def __init__(self, message: str, step: int, atoms: Atoms | None, doubted: Atoms | None = None) -> None:
        super().__init__(message)
        self.step = step
        self.atoms = atoms
        self.doubted = doubted


class Guard:
    """Checks every step of `atoms`; `last_good` (a path, or None) is written when the run has to stop.

    judge: tells of a step of this number why the run has to stop all the same, empty where it goes on.
    """

    def __init__(self, atoms: Atoms, last_good: Path | None, judge: Callable[[int], str]) -> None:
        self._atoms = atoms
        self._path = last_good
        self._judge = judge
        self._good: Atoms | None = None

    def advance(self, dynamics: Any, steps: int) -> Iterator[int]:
        """Run ASE's `dynamics` for `steps` more steps, yielding the step reached: first the present one.

        Raises:
            MDStoppedError: positions, momenta, energy or forces are not finite, the calculator raised, or the judge
                says so.
        """
        generator = dynamics.irun(steps)
        while True:
            try:
                next(generator)
                bad = not_finite(self._atoms)
            except StopIteration:
                return
            except Exception as error:
                raise self._stop(dynamics.nsteps + 1, f"{type(error).__name__}: {error}") from error
            if bad:
                raise self._stop(dynamics.nsteps, f"{bad} not finite")
            doubt = self._judge(dynamics.nsteps)
            if doubt:
                raise self._stop(dynamics.nsteps, doubt, frame_of(self._atoms, step=dynamics.nsteps))
            self._good = frame_of(self._atoms, step=dynamics.nsteps)
            yield dynamics.nsteps

    def _stop(self, step: int, reason: str, doubted: Atoms | None = None) -> MDStoppedError:
        if self._good is None:
            kept = "there is no good frame before it; check the starting structure"
        else:
            kept = f"the last good frame is that of step {self._good.info['step']}"
            if self._path is not None:
                write_frames(self._path, [self._good])
                kept += f", kept in {self._path}"
            if doubted is None:
                kept += "; a smaller time step or a better starting structure may help"
        message = f"molecular dynamics stopped at step {step} ({reason}): {kept}."
        return MDStoppedError(message, step, self._good, doubted)


def not_finite(atoms: Atoms) -> str:
    """Which of positions, momenta, energy and forces hold a NaN or an infinity; empty when none does."""
    values = {
        "positions": atoms.positions,
        "momenta": atoms.get_momenta(),
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(apply_constraint=False),
    }
    bad = [name for name, value in values.items() if not np.isfinite(value).all()]
    return f"{', '.join(bad)} {'is' if bad == ['energy'] else 'are'}" if bad else ""
