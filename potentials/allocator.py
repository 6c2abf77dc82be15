"""Memory that was freed is kept for what comes next, where the C library would give it back to the system.

glibc asks the system for every block above 128 KiB (later up to 32 MiB) and gives it back when it is freed. An eager
evaluation makes hundreds of such blocks, and the system fills each with zeros, page by page, when it is first written:
a third of the time of PaiNN at 64 atoms went there (docs/benchmarks.md).
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Parameters of mallopt(3)."""

LARGEST_KEPT = 256 * 2**20
"""Bytes; larger blocks are asked for one by one, as before."""

MOST_KEPT = 2**30
"""Bytes of freed memory at the end of the heap above which it is given back."""

OWN_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Who sets one of these in the environment has chosen."""


@cache
def keep_freed_memory() -> bool:
    """From now on this process keeps freed memory; whether it does.

    Nothing is changed where the C library is not glibc, or the environment has settings of its own. A setting of the
    whole process: it is made when a potential is to be evaluated on the CPU, not by an import.
    """
    library = _glibc()
    if library is None or any(os.environ.get(name) for name in OWN_SETTINGS):
        return False
    return bool(library.mallopt(MMAP_THRESHOLD, LARGEST_KEPT)) and bool(library.mallopt(TRIM_THRESHOLD, MOST_KEPT))


def release_freed_memory() -> None:
    """Give back what is kept: before memory is measured."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
