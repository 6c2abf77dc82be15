"""Paths of a run file: environment variables, `~`, paths relative to the file, globs."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from potentials.models.registry import MODELS, model_file
from train.store.manifest import is_store

VARIABLE = re.compile(r"\$\{([^}]*)\}")
MAGIC = re.compile(r"[*?\[]")


def expand(text: str, base: Path) -> str:
    """`text` with `${VAR}` and `~` expanded, absolute; a relative one is relative to `base`. Globs stay globs.

    Raises:
        ValueError: an environment variable that is not set, or an empty path.
    """
    missing = sorted({name for name in VARIABLE.findall(text) if name not in os.environ})
    if missing:
        raise ValueError(f"{text!r} needs the environment variable {missing[0]}, which is not set; export it first")
    path = os.path.expanduser(VARIABLE.sub(lambda match: os.environ[match[1]], text))  # noqa: PTH111 - globs are no Path
    if not path:
        raise ValueError("a path is empty; name a file")
    if Path(path).is_absolute():
        return path
    folder = str(base.absolute())
    # what is special to a glob in the folder's own name is meant literally
    return str(Path(glob.escape(folder) if MAGIC.search(path) else folder) / path)


def beginning(text: str, base: Path) -> Path:
    """The checkpoint that is meant: a path as `expand` has it, or one of the package's own by its name.

    A file of that name in `base` is meant before it.

    Raises:
        ValueError: as `expand`; the name of a model whose file is not in this installation.
    """
    path = Path(expand(text, base))
    return model_file(MODELS[text]) if text in MODELS and not path.is_file() else path


def files(paths: Sequence[str], base: Path, whose: str) -> list[Path]:
    """The files that `paths` mean, globs in alphabetical order.

    Raises:
        ValueError: a file is missing, a glob matches none, or a file comes twice; the message begins with `whose`.
    """
    found: list[Path] = []
    for path in (expand(text, base) for text in paths):
        if _holds_structures(path):
            found.append(Path(path))
        elif Path(path).is_dir():
            raise ValueError(
                f"{whose}: {path} is a folder; name files, for example {path}/*{_suffix_in(path)}, or the folder of a"
                " store"
            )
        else:
            there = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - the pattern is absolute, which Path.glob refuses
            matches = [Path(match) for match in there if _holds_structures(match)]
            if not matches:
                why = "matches no file" if MAGIC.search(path) else "is no file"
                raise ValueError(f"{whose}: {path} {why}; a relative path starts at the folder of the run file")
            found += matches
    twice = [str(path) for path, times in Counter(path.resolve() for path in found).items() if times > 1]
    if twice:
        raise ValueError(f"{whose}: {twice[0]} is given more than once; name each file once")
    return found


def _suffix_in(folder: str) -> str:
    """That of files which may be meant."""
    there = {file.suffix for file in Path(folder).iterdir() if file.suffix in {".aselmdb", ".lmdb"}}
    return min(there, default=".extxyz")


def _holds_structures(path: str) -> bool:
    """A file, a store, or an ADIOS2 file, which is a folder as well, or a group within it (`a.bp/trainset`)."""
    here = Path(path)
    return here.is_file() or is_store(here) or any(one.suffix == ".bp" and one.exists() for one in (here, here.parent))
