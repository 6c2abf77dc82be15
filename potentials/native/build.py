"""Building the package's own C++ source, once per machine, into the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCES = ("tensor_products.cpp", "spline_products.cpp", "neighbours.cpp", "pairs.cpp")
HEADERS = ("couplings.hpp",)
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp")
WIDE = "-mprefer-vector-width=512"
"""For x86 alone: other machines know no such flag."""


def cache_folder() -> Path:
    """Where built libraries are kept: `$XDG_CACHE_HOME/gfm-ase`, by default `~/.cache/gfm-ase`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gfm-ase"


def compiler() -> str | None:
    """The C++ compiler on the PATH: `$CXX`, g++ or clang++; none where there is none."""
    names = (os.environ.get("CXX", ""), "g++", "clang++")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@cache
def compiler_version(program: str) -> str:
    """What a compiler says of itself."""
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603 - the user's compiler


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, built if this machine has not built them yet; none where there is no compiler that can.

    Kept under a name that source, compiler, processor and flags determine, in a folder that is the user's alone.
    """
    program = compiler()
    if program is None:
        return None
    sources = [Path(__file__).parent / name for name in SOURCES]
    flags = [*FLAGS, *([WIDE] if platform.machine() in {"x86_64", "AMD64"} else [])]
    target = cache_folder() / f"kernels-{_key(program, flags)}.so"
    if not target.is_file() and not _build(program, flags, sources, target):
        return None
    return ctypes.CDLL(str(target))


def _key(program: str, flags: list[str]) -> str:
    folder = Path(__file__).parent
    parts = [
        compiler_version(program),
        *flags,
        processor(),
        *((folder / name).read_text() for name in SOURCES + HEADERS),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def processor() -> str:
    """What `-march=native` looks at: a home folder may be shared by machines of several kinds."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    lines = cpuinfo.read_text().splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _build(program: str, flags: list[str], sources: list[Path], target: Path) -> bool:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        beside = Path(folder) / target.name
        command = [program, *flags, *(str(source) for source in sources), "-o", str(beside)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the user's compiler
        if done.returncode:
            return False
        beside.replace(target)
    return True
