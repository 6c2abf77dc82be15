"""What a model card is about: a checkpoint, the folder it was trained in, and the data it is held against."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase import Atoms
from ase.io import read

from gfm_ase.calculator import GFMCalculator
from gfm_ase.loading import Loaded, load
from potentials.models.registry import find_checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = dict[str, Any]
"""What a part has measured, as JSON takes it."""

Progress = Callable[[str, int, int | None], None]


def silent(what: str, done: int, total: int | None) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Subject:
    """A checkpoint and what there is beside it.

    Attributes:
        path: of the checkpoint.
        loaded: on the CPU.
        data: folder of the data sets.
        runs: folders of the trainings that made it, with their journals, in their order; the last is its own.
        work: folder for files of runs.
        frames: at most so many of each test file, evenly spaced; all where it is none.
        quick: fewer steps and checks.
        compiled: in the card, measure the speed of the compiled potential too; in dynamics, drive with it.
        progress: told what is done.
    """

    path: Path
    loaded: Loaded
    data: Path
    work: Path
    runs: tuple[Path, ...] = ()
    frames: int | None = None
    quick: bool = False
    compiled: bool = False
    progress: Progress = field(default=silent)

    def calculator(self, head: str, **settings: Any) -> GFMCalculator:
        """Of one head."""
        return GFMCalculator(self.loaded, head=head, **settings)

    def knows(self, head: str) -> bool:
        """Whether there is such a head."""
        return head in self.loaded.potential.heads

    def elements(self, head: str) -> tuple[str, ...]:
        """Symbols that a head knows."""
        return tuple(self.loaded.manifest.heads[head].elements)

    def read(self, file: str, index: str = ":") -> list[Atoms]:
        """Frames of a file of the data folder, with their labels.

        Raises:
            ValueError: it is not there.
        """
        path = self.data / file
        if not path.exists():
            raise ValueError(f"{path} is not there; the data folder must hold {file}: set GFM_ASE_DATA, or --data")
        found = read(path, index)
        return found if isinstance(found, list) else [found]

    def start(self, file: str) -> Atoms:
        """The first frame of a file, without its labels."""
        atoms = self.read(file, "0:1")[0]
        atoms.calc = None
        return atoms


@dataclass(frozen=True)
class Part:
    """A part of the card.

    Attributes:
        measure: what is found, as JSON takes it.
        section: its part of the page, in Markdown; pictures stand in the folder that is named.
        pictures: figures by the name of their file.
    """

    measure: Callable[[Subject], Record]
    section: Callable[[Record], str]
    pictures: Callable[[Record], Mapping[str, Figure]] = lambda _: {}


def data_folder(given: Path | None) -> Path:
    """The folder of the data sets: the one given, or that of the environment.

    Raises:
        ValueError: neither is there.
    """
    named = given or (Path(os.environ["GFM_ASE_DATA"]) if "GFM_ASE_DATA" in os.environ else None)
    if named is None or not named.is_dir():
        raise ValueError(f"no data folder ({named}); set GFM_ASE_DATA or give --data: the folder that holds rmd17, ...")
    return named


def open_subject(path: Path, data: Path | None, work: Path, earlier: Sequence[Path] = (), **settings: Any) -> Subject:
    """The checkpoint on the CPU with its data; the folder it lies in is that of its training if it holds a journal.

    Raises:
        ValueError: no data folder; an earlier training without a journal.
        CheckpointError: no whole checkpoint.
    """
    for folder in earlier:
        if not (folder / "journal.jsonl").exists():
            raise ValueError(f"{folder} holds no journal.jsonl; name the output folder of an earlier training")
    path = find_checkpoint(path)
    own = (path.parent,) if (path.parent / "journal.jsonl").exists() else ()
    return Subject(path, load(path, device="cpu"), data_folder(data), work, runs=(*earlier, *own), **settings)


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell for cell in line) + " |" for line in lines)


def number(value: float | None, factor: float = 1.0) -> str:
    """With three digits; a dash where there is none."""
    if value is None:
        return "–"
    scaled = factor * value
    return f"{scaled:.0f}" if abs(scaled) >= 100 else f"{scaled:.3g}"
