"""Sums over pairs of frames, by how far they are apart in time: what MSD and VACF are made of.

Frames come one at a time. Each block of `window` frames is paired with itself and the next block by Fourier transforms,
so that every pair up to `window` frames apart counts once: the cost of a frame grows with log(window) and the memory
with the window, not with the run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from md_workflows.analysis.blocks import State

Floats = NDArray[np.float64]
ATOMS_AT_A_TIME = 256  # transforms of so many fit into a few MB


class PairSums:
    """For each kind of atoms and lag, the sum over origins and atoms of a(t)·a(t+lag), or of |a(t+lag) - a(t)|².

    kinds [N]: which kind an atom is of, 0 ... · window: the largest lag, in frames · squared_change: the second of the
    two. Blocks are handed to `block_sums` as they are completed.
    """

    def __init__(self, kinds: NDArray[np.int64], window: int, *, squared_change: bool) -> None:
        self.kinds = kinds
        self.window = window
        self.n_kinds = int(kinds.max(initial=-1)) + 1
        self._squared_change = squared_change
        self._frames = np.zeros((2 * window, len(kinds), 3))  # the block of origins and the one after it
        self._filled = 0
        self._sums = np.zeros((self.n_kinds, window + 1))
        self._origins = np.zeros(window + 1, dtype=np.int64)

    def add(self, values: Floats) -> Floats | None:
        """Take the next frame [N,3]; where it completes a block of origins, that block's means [K, window+1]."""
        self._frames[self._filled] = values
        self._filled += 1
        if self._filled < 2 * self.window:
            return None
        block, origins = self._pair(self._frames)
        self._sums += block
        self._origins += origins
        self._frames[: self.window] = self._frames[self.window :]
        self._filled = self.window
        return _means(block, origins)

    def means(self) -> Floats:
        """[K, window+1] means over origins and sums over atoms; NaN for lags that no pair of frames has."""
        sums, origins = self._sums.copy(), self._origins.copy()
        first = 0
        while first < self._filled:  # origins that still wait for frames to come
            block, more = self._pair(self._frames[first : self._filled])
            sums += block
            origins += more
            first += self.window
        return _means(sums, origins)

    def _pair(self, frames: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Pairs whose first frame is one of the first `window` of `frames` [T,N,3]."""
        n_frames, lags = len(frames), np.arange(self.window + 1)
        origins = min(self.window, n_frames)
        last = np.minimum(origins, np.maximum(n_frames - lags, 0))  # origins of a lag: 0 ... last - 1
        sums = np.zeros((self.n_kinds, self.window + 1))
        length = _fast_length(n_frames + self.window + 1)
        # of what does not move nothing shall be left, nor of the place where atoms are: rounding would follow it
        moved = frames - frames[0] if self._squared_change else frames
        for kind in range(self.n_kinds):
            atoms = np.flatnonzero(self.kinds == kind)
            for start in range(0, len(atoms), ATOMS_AT_A_TIME):
                part = np.ascontiguousarray(moved[:, atoms[start : start + ATOMS_AT_A_TIME]].reshape(n_frames, -1).T)
                sums[kind] += self._products(part, origins, length, last)
        return sums, last

    def _products(self, part: Floats, origins: int, length: int, last: NDArray[np.int64]) -> Floats:
        """part [C,T]: one row for each component of each atom."""
        spectrum = np.conj(np.fft.rfft(part[:, :origins], length)) * np.fft.rfft(part, length)
        products: Floats = np.fft.irfft(spectrum.sum(axis=0), length)[: self.window + 1]
        products[last == 0] = 0.0
        if not self._squared_change:
            return products
        squares = np.concatenate([[0.0], np.cumsum(np.einsum("ct,ct->t", part, part))])
        lags = np.arange(self.window + 1)
        begin = np.minimum(lags, len(squares) - 1)
        both: Floats = (
            squares[last] + squares[np.minimum(lags + last, len(squares) - 1)] - squares[begin] - 2 * products
        )
        both[0] = 0.0
        return np.maximum(both, 0.0)

    def state(self) -> State:
        """Everything a restart needs."""
        return {
            "frames": self._frames[: self._filled].copy(),
            "sums": self._sums.copy(),
            "origins": self._origins.copy(),
        }

    def restore(self, state: State) -> None:
        """Go on from a state."""
        frames = np.asarray(state["frames"])
        self._filled = len(frames)
        self._frames[: self._filled] = frames
        self._sums, self._origins = np.array(state["sums"]), np.array(state["origins"])


def _means(sums: Floats, origins: NDArray[np.int64]) -> Floats:
    return np.where(origins > 0, sums / np.maximum(origins, 1), np.nan)


def _fast_length(least: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(least, real=True))
