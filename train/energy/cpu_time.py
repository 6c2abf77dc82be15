"""Processor time of a process and of those it has started: compilation, for one, is done by others."""

from __future__ import annotations

import os
from pathlib import Path

from train.energy.source import read_text

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Of this process, of children that have ended and of those that live (Linux), and of theirs."""
    own = os.times()
    ended = own.children_user + own.children_system
    return own.user + own.system + ended + sum(map(_of_tree, _children(os.getpid())))


def _children(process: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (thread / "children").read_text(encoding="ascii").split())
    except OSError:  # gone meanwhile, or no Linux
        return found
    return found


def _of_tree(process: int) -> float:
    try:
        # the name in brackets may hold anything; then the state is field 3, and times are 14 to 17
        fields = read_text(Path(f"/proc/{process}/stat")).rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS_PER_S + sum(map(_of_tree, _children(process)))


def busy_seconds(root: Path) -> float:
    """Processor time that everybody on a machine has used since it started, from /proc/stat.

    Raises:
        OSError: there is no such file.
    """
    first = read_text(root / "proc/stat").partition("\n")[0].split()
    # user nice system idle iowait irq softirq steal; guests are in user, and what is stolen is other machines' work
    user, nice, system, _, _, irq, softirq = map(int, first[1:8])
    return (user + nice + system + irq + softirq) / TICKS_PER_S
