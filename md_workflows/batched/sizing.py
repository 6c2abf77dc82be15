"""How much goes into one model call: measured, not guessed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from potentials.allocator import release_freed_memory

GROWTH = 2.0
WORTH = 1.05
"""A call twice as large is kept where it gets this much more done in a second."""
SHARE = 0.6
"""Of the memory that is free, what a call may take."""
FULL = 0.7
"""Part of the budget that a call must use to tell something of it."""
CALLS = 3
"""Of which the quickest counts: the first of a size prepares, and others' work disturbs."""


@dataclass
class Sizer:
    """The budget of one call, in units of cost (about an edge).

    It begins small and doubles while larger calls get more done in a second and memory allows; two sizes that do not
    are one too many: then it goes back to the best, and stays. A call that does not fit halves it, and it does not grow
    to there again.

    Attributes:
        budget: what one call may cost.
        ceiling: above which memory does not reach.
        settled: whether it has stopped growing.
        fixed: whether nothing but a lack of memory changes it any more: the same structures go together in every run.
    """

    device: torch.device
    budget: float = 4_000.0
    ceiling: float = float("inf")
    settled: bool = False
    fixed: bool = False
    _largest: float = 0.0
    _best: tuple[float, float] = (0.0, 0.0)  # budget, and what was done in a second
    _calls: int = 0
    _rate: float = 0.0

    def loaded(self, guessed: Sequence[float]) -> float:
        """How much of the budget structures take up that were let in for these costs: all of it, if no more fit."""
        total = sum(guessed)
        return max(total, self.budget) if total + max(guessed) > self.budget else total

    def note(self, cost: float, seconds: float, bytes_used: float, loaded: float = 0.0) -> None:
        """A call of `cost`, for which so much of the budget was `loaded`, took so long and so much memory."""
        if self.fixed:
            return
        self._largest = max(self._largest, cost)
        if bytes_used > 0:
            self.ceiling = min(self.ceiling, max(cost, SHARE * free_bytes(self.device) * cost / bytes_used))
        if self.settled or max(cost, loaded) < FULL * self.budget:
            return
        self._calls += 1
        self._rate = max(self._rate, cost / max(seconds, 1e-9))
        if self._calls == CALLS:
            self._judge()
            self._calls, self._rate = 0, 0.0

    def _judge(self) -> None:
        best, rate = self._best
        if self._rate > WORTH * rate:
            self._best = (self.budget, self._rate)
        elif self.budget > GROWTH * best:
            self.settled = True
        if self.budget * GROWTH > self.ceiling:
            self.settled = True
        self.budget = self._best[0] if self.settled else self.budget * GROWTH

    def wants_memory(self, cost: float) -> bool:
        """Whether the memory of a call of `cost` can tell anything: smaller calls than others need not be looked at."""
        return not self.fixed and cost > self._largest

    def halve(self, cost: float) -> None:
        """A call of `cost` did not fit into memory."""
        self.budget = min(self.budget, cost) / 2
        self.ceiling, self.settled = cost / 2, True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or here."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def free_cached(device: torch.device) -> None:
    """Give back what torch keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def free_bytes(device: torch.device) -> float:
    """Memory that can be had."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for what comes next
        return float(torch.cuda.mem_get_info(device)[0] + kept)
    available = Path("/proc/meminfo")
    if available.exists():
        lines = dict(line.split(":", 1) for line in available.read_text().splitlines())
        return 1024 * float(lines["MemAvailable"].split()[0])
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


class MemoryMeter:
    """Peak memory of what runs inside, in bytes above what was in use before; 0 where it cannot be told."""

    def __init__(self, device: torch.device, *, idle: bool = False) -> None:
        self._device, self._idle = device, idle
        self.used = 0.0

    def __enter__(self) -> MemoryMeter:
        if self._idle:
            return self
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = float(torch.cuda.memory_allocated(self._device))
        else:
            release_freed_memory()  # else what this call needs again would not be seen
            self._before, self._peak = resident_bytes("VmRSS"), resident_bytes("VmHWM")
        return self

    def __exit__(self, *_: object) -> None:
        if self._idle:
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            self.used = torch.cuda.max_memory_allocated(self._device) - self._before
        elif (peak := resident_bytes("VmHWM")) > self._peak:  # only what goes higher than all before can be told
            self.used = peak - self._before


def resident_bytes(name: str) -> float:
    """A line of /proc/self/status, as VmRSS or the peak VmHWM, in bytes; 0 where there is none."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    line = next((line for line in status.read_text().splitlines() if line.startswith(name + ":")), "")
    return 1024 * float(line.split()[1]) if line else 0.0
