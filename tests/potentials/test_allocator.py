"""Freed memory is kept where nobody has chosen otherwise; measured by the pages that the system has to fill."""

import os
import subprocess
import sys

import pytest

from potentials.allocator import OWN_SETTINGS, release_freed_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="allocators of other systems are left alone")

FAULTS = """
import resource, sys
import torch
from potentials.allocator import keep_freed_memory, release_freed_memory

torch.set_num_threads(1)
kept = keep_freed_memory() if sys.argv[1] == "keep" else False

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(5 * 2**20)  # 20 MiB
        torch.ones(10 * 2**20)  # 40 MiB: above what glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) // 1024

pages()
first, before = pages(), resident()
release_freed_memory()
print(kept, first, before - resident())
"""


def faults(how: str, **environment: str) -> tuple[str, int, int]:
    plain = {name: value for name, value in os.environ.items() if name not in OWN_SETTINGS}
    told = subprocess.run(
        [sys.executable, "-c", FAULTS, how], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    kept, pages, released = told.stdout.split()
    return kept, int(pages), int(released)


def test_blocks_are_not_asked_for_again() -> None:
    kept, pages, released = faults("keep")
    if kept == "False":
        pytest.skip("this C library is not glibc")
    assert faults("leave")[1] > 10 * max(pages, 1)
    assert released >= 15  # MiB


def test_who_has_settings_of_their_own_keeps_them() -> None:
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"


def test_memory_can_be_given_back_at_any_time() -> None:
    release_freed_memory()
