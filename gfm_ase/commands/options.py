"""Command-line options that several commands share."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class DtypeName(StrEnum):
    """Floating-point types a network can run in."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


CHECKPOINT: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT",
        help="Checkpoint file written by `gfm-ase train`, or the name of a model that comes with the package (see"
        " `gfm-ase models`).",
        show_default=False,
    ),
]
STRUCTURE: TypeAlias = Annotated[
    Path, typer.Argument(metavar="STRUCTURE", help="Structure file in any format that ASE reads.", show_default=False)
]
STRUCTURES: TypeAlias = Annotated[
    list[Path],
    typer.Argument(metavar="STRUCTURE...", help="Structure files in any format that ASE reads.", show_default=False),
]
FRAME: TypeAlias = Annotated[
    int, typer.Option("--index", help="Which frame of the file: 0 is the first, -1 the last.", metavar="NUMBER")
]
HEAD: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--head",
        help="Branch of the checkpoint, by the name of its data set (see `gfm-ase inspect`); "
        "may be left out when there is one only, or one only fits the structure of md, relax and neb.",
        show_default=False,
    ),
]
DEVICE: TypeAlias = Annotated[
    str, typer.Option("--device", help="auto (a GPU when there is one), cpu, cuda or cuda:N.")
]
DTYPE: TypeAlias = Annotated[
    DtypeName | None,
    typer.Option(
        "--dtype",
        help="Floating-point type of the network; by default the one of the checkpoint. "
        "float64 is slower, and good for relaxations to very small forces.",
        show_default=False,
    ),
]
COMPILE: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the potential first: tens of seconds once, seconds once the machine has seen it; "
        "pays in long runs. Needs a C++ compiler.",
    ),
]
OVERRIDES: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=C",
        help="Change one setting of the run file; may be given several times. "
        "Data sets go by name or number: dataset.acac.weight=2.",
        show_default=False,
    ),
]


def check_outputs(*files: Path | None, pictures: Sequence[Path | None] = ()) -> None:
    """Raise ValueError where an output cannot be written: before the minutes that what is written may take."""
    from md_workflows.durable import check_directory

    for path in (*files, *pictures):
        if path is not None:
            check_directory(path)
    for picture in pictures:
        if picture is not None:
            from gfm_ase.plots import check_picture

            check_picture(picture)
