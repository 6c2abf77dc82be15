"""Extended XYZ, frame by frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from io import StringIO
from typing import IO

from ase import Atoms
from ase.io.extxyz import read_xyz


def xyz_frames(stream: IO[str]) -> Iterator[Atoms]:
    """The frames of a file, of which one at a time is in memory.

    Cut into frames here, for ASE seeks in the file: minutes for thousands of frames where it is compressed. ASE also
    ends at a blank line in the middle, and says nothing of the frames after it.

    Raises:
        ValueError: the file breaks off, or has another line where a number of atoms is due.
    """
    lines = iter(stream)
    ahead, line, number = next(lines, None), 1, 0
    while ahead is not None:
        if not ahead.strip().isdecimal():
            if not ahead.strip() and not any(rest.strip() for rest in lines):
                return
            raise ValueError(f"line {line} is {ahead.rstrip()[:40]!r} instead of a number of atoms")
        count = int(ahead)
        frame = [ahead, *itertools.islice(lines, count + 1)]
        if count and (len(frame) < count + 2 or not frame[-1].strip()):
            raise ValueError(f"the file ends in the middle of frame {number}")
        ahead = next(lines, None)
        while ahead is not None and ahead.lstrip().startswith("VEC"):
            frame.append(ahead)
            ahead = next(lines, None)
        yield next(read_xyz(StringIO("".join(frame) + "\n\n"), 0))
        line, number = line + len(frame), number + 1
