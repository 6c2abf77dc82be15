"""Which process of a run it is that does not answer: each writes signs of life into a store that all can read."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

INTERVAL = 0.5
"""Seconds between two signs of life."""

LOOKS = 6
"""Intervals without one after which a process is silent; one that is busy is not, for a thread of its own writes."""

LEFT = "lost another"
"""Last word of a process that ends because another one is gone."""


class Heartbeat:
    """Signs of life of this process, and a look at those of the others.

    Args:
        store: of torch.distributed; a clone is made for each thread.
        rank: of this process.
        size: processes.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self._rank, self._size = rank, size
        self._meetings = 0
        self._own, self._others, self._last = store.clone(), store.clone(), store.clone()
        self._own.set(_key(rank), "0 0")
        self._over = threading.Event()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def met(self) -> None:
        """This process has come to the next point at which all meet."""
        self._meetings += 1

    def stop(self, last_word: str = "") -> None:
        """The last sign, with a reason where the end is none that the others expect."""
        self._over.set()
        if last_word:
            # whoever keeps the store may be the one that is gone
            _within(2 * INTERVAL, lambda: self._last.set(f"{_key(self._rank)}/word", last_word[:500]))

    def to_blame(self) -> str:
        """Who is gone, does not answer or has not come, as the end of a sentence; nothing where all seem well."""
        found: list[str] = []
        answered = _within((LOOKS + 4) * INTERVAL, lambda: found.append(self._look()))
        return found[0] if answered else ", first of all process 0 or the network to it: it keeps the signs of life"

    def _beat(self) -> None:
        beats = 0
        with suppress(RuntimeError):  # the store is gone: so is the run
            while not self._over.wait(INTERVAL):
                beats += 1
                self._own.set(_key(self._rank), f"{beats} {self._meetings}")

    def _look(self) -> str:
        before = self._signs()
        time.sleep(LOOKS * INTERVAL)
        now = self._signs()
        silent = [rank for rank, sign in now.items() if sign == before[rank]]
        words = {rank: self._word(rank) for rank in silent}
        guilty = [rank for rank in silent if words[rank] != LEFT]
        if guilty:
            told = [f"process {rank}" + (f" (it said: {words[rank]})" if words[rank] else "") for rank in guilty]
            return f": no sign of life from {', '.join(told)}"
        behind = [str(rank) for rank, sign in now.items() if int(sign.split()[1]) < self._meetings]
        return f": process {', '.join(behind)} lives, but has not come to where this one waits" if behind else ""

    def _signs(self) -> dict[int, str]:
        others = [rank for rank in range(self._size) if rank != self._rank]
        return {rank: self._others.get(_key(rank)).decode() for rank in others}

    def _word(self, rank: int) -> str:
        key = f"{_key(rank)}/word"
        return str(self._others.get(key).decode()) if self._others.check([key]) else ""


def _key(rank: int) -> str:
    return f"gfm_ase/life/{rank}"


def _within(seconds: float, call: Any) -> bool:
    """Whether a call comes back in time and without the store's complaint; it is left behind where it does not."""
    done = threading.Event()

    def run() -> None:
        with suppress(RuntimeError):
            call()
            done.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return done.is_set()
