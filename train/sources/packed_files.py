"""Files as they are or compressed, by their suffix, opened as streams."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""By suffix."""


def open_bytes(path: Path) -> BinaryIO:
    """A file as a stream of its content, which is never whole in memory."""
    return cast(BinaryIO, OPENERS.get(path.suffix, open)(path, "rb"))


def open_text(path: Path) -> IO[str]:
    """A file as a stream of lines, UTF-8."""
    return TextIOWrapper(open_bytes(path), encoding="utf-8")


def suffix_of(path: Path) -> str:
    """That of the content: .extxyz of 7.extxyz.xz."""
    return (Path(path.stem).suffix if path.suffix in OPENERS else path.suffix).lower()
