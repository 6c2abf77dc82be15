"""Positions made ready to compare over time: unwrapped, without the drift of the whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from md_workflows.analysis.blocks import State
from md_workflows.snapshot import Snapshot

Floats = NDArray[np.float64]


class Motion:
    """Follows atoms from frame to frame.

    unwrap: positions were wrapped into the cell: from frame to frame each atom is taken to move the shortest way (von
    Bülow, Bullerjahn and Hummer, J. Chem. Phys. 153, 021101 (2020): right for cells that change, too). Otherwise they
    are taken as they are, as our own dynamics writes them, and frames that look wrapped are refused.
    drift: leave the motion of the centre of mass in.
    """

    def __init__(self, *, unwrap: bool, drift: bool) -> None:
        self._unwrap = unwrap
        self._drift = drift
        self._wrapped: Floats | None = None  # the last positions as given
        self._true: Floats | None = None  # and where the atoms are
        self._inside = True

    def follow(self, snapshot: Snapshot) -> Floats:
        """[N,3] Å, continuous in time.

        Raises:
            ValueError: positions look wrapped, and `unwrap` was not asked for.
        """
        positions, pbc = snapshot.positions, snapshot.system.pbc
        if self._wrapped is None or self._true is None:
            self._true = positions.copy()
        else:
            step = positions - self._wrapped
            if pbc.any():
                step = self._shortest(step, snapshot)
            self._true = self._true + step if self._unwrap else positions
        self._wrapped = positions.copy()
        if pbc.any() and not self._unwrap:
            scaled = fractional(positions, snapshot.cell, pbc)
            self._inside = self._inside and bool(((scaled > -1e-6) & (scaled < 1 + 1e-6)).all())
        if self._drift:
            return self._true
        masses = snapshot.system.masses
        true: Floats = self._true - masses @ self._true / masses.sum()
        return true

    def _shortest(self, step: Floats, snapshot: Snapshot) -> Floats:
        pbc = snapshot.system.pbc
        crossed = np.round(fractional(step, snapshot.cell, pbc))
        if self._unwrap:
            shortest: Floats = step - crossed @ snapshot.cell[pbc]
            return shortest
        if self._inside and crossed.any():
            raise ValueError(
                f"at step {snapshot.step} an atom jumps by a cell, and all were inside the cell before: the positions "
                "are wrapped. Ask for unwrap=True (--unwrap), so that they are joined again."
            )
        return step

    def state(self) -> State:
        """Everything a restart needs."""
        if self._wrapped is None or self._true is None:
            return {}
        return {"wrapped": self._wrapped, "true": self._true, "inside": np.array(self._inside)}

    def restore(self, state: State) -> None:
        """Go on from a state."""
        if state:
            self._wrapped, self._true = np.array(state["wrapped"]), np.array(state["true"])
            self._inside = bool(state["inside"])


def fractional(vectors: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> Floats:
    """[N,P] components along the P repeating lattice vectors; the rest of a vector is orthogonal to them."""
    components: Floats = vectors @ np.linalg.pinv(cell[pbc])
    return components


class EvenSteps:
    """Frames have to be evenly spaced in time for what compares them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = np.full(2, np.nan)  # the time of the last frame and the spacing, fs

    @property
    def spacing_fs(self) -> float:
        """Between frames; NaN before the second."""
        return float(self._last[1])

    def check(self, time_fs: float) -> None:
        """Raise ValueError where a frame comes earlier or later than the ones before promise."""
        last, spacing = self._last
        step = time_fs - last
        if np.isnan(last):
            self._last[0] = time_fs
            return
        if step <= 0 or (not np.isnan(spacing) and abs(step - spacing) > 1e-6 * spacing + 1e-9 * abs(time_fs)):
            expected = "later than the last" if np.isnan(spacing) else f"{spacing:g} fs after the last"
            raise ValueError(
                f"{self._name} needs frames evenly spaced in time; the one at {time_fs:g} fs comes {step:g} fs after "
                f"the one before, and should be {expected}. Choose evenly spaced ones, or leave the report out."
            )
        self._last[:] = time_fs, step if np.isnan(spacing) else spacing

    def state(self) -> State:
        """Everything a restart needs."""
        return {"last": self._last.copy()}

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self._last = np.array(state["last"])
