"""Where compiled programs are kept between starts: the user's own cache, as trustworthy as the user's account."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from potentials.native.build import cache_folder
from potentials.program_key import program_key
from potentials.programs import INDUCTOR, Program, TensorFunction, build, trace

KEPT = 100
"""Programs that stay (2 to 10 MB each); of more, those that have not been used for longest go."""


def obtain_program(
    function: TensorFunction, state: Mapping[str, Tensor], example: Sequence[Tensor], *, anew: bool = False
) -> tuple[Program, bool]:
    """The compiled function, and whether it had been kept from an earlier start.

    Args:
        function, state, example: see `potentials.programs.trace`.
        anew: build it even if one is kept.

    Raises:
        NotCompiledError: as `potentials.programs.build`.
        ValueError: others can write into the cache.
    """
    folder, key = programs_folder(), program_key(function, state, example, INDUCTOR)
    path = None if folder is None or key is None else folder / f"{key}.pt2"
    if path is not None and path.exists() and not anew:
        with suppress(RuntimeError):  # of a damaged file
            program = Program(path)
            os.utime(path)
            return program, True
    traced = trace(function, state, example)
    if path is None:
        with tempfile.TemporaryDirectory() as temporary:
            build(traced, Path(temporary) / "program.pt2")
            return Program(Path(temporary) / "program.pt2"), False
    build(traced, path)
    forget_oldest(path.parent, KEPT)
    return Program(path), False


def programs_folder() -> Path | None:
    """The folder of compiled programs, made if need be; none where the user has no cache.

    Raises:
        ValueError: the folder, or the one around it, is not the user's alone to write: what lies in it is run.
    """
    folder = cache_folder() / "programs"
    try:
        for one in (folder.parent, folder):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    for one in (folder.parent, folder):
        status = one.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise ValueError(
                f"{one} can be written by others, and compiled programs in it would be run; chown and chmod 700 it, or"
                " set XDG_CACHE_HOME to a folder of your own"
            )
    return folder if os.access(folder, os.W_OK) else None


def forget_oldest(folder: Path, kept: int) -> None:
    """Delete all but the programs used last."""
    found = []
    for path in folder.glob("*.pt2"):
        with suppress(FileNotFoundError):  # another process tidies up too
            found.append((path.stat().st_mtime, path))
    for _, path in sorted(found, reverse=True)[kept:]:
        path.unlink(missing_ok=True)
