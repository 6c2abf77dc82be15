"""The options of `screen` that no other command has."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

OUTPUT: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="Name of the screening: NAME.db is the table, NAME.csv and NAME.extxyz follow."
    ),
]
PROPERTY: TypeAlias = Annotated[
    str,
    typer.Option(
        "--property",
        help="What to do, separated by commas: relax comes first where it is there; properties are measured on what "
        "converged, without relax on the structures as they are. formation_energy, energy_above_hull, elastic, eos, "
        "phonon, vacancy, surface, adsorption.",
        metavar="LIST",
    ),
]
SETTINGS: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="TOML file with a table of settings for each property, and [executor], say for jobs of Slurm.",
        metavar="FILE.TOML",
        show_default=False,
    ),
]
WORKERS: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Compute in so many worker processes; by default in this one.",
        metavar="NUMBER",
        min=1,
        show_default=False,
    ),
]
EXECUTOR: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--executor",
        help="Where the workers are: process (this machine), mpi (those of an mpiexec or srun), dask or parsl "
        "(also jobs of Slurm).",
        metavar="NAME",
        show_default=False,
    ),
]
CHUNK: TypeAlias = Annotated[
    int,
    typer.Option(
        "--chunk",
        help="Structures that a worker gets at once: as many as fill a batch; a kill loses at most what is under way.",
        metavar="NUMBER",
        min=1,
    ),
]
TABLE: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--table",
        help="Another place for the table: a .db file, or postgresql://USER@HOST/NAME.",
        metavar="FILE|URL",
        show_default=False,
    ),
]
DUPLICATES: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--duplicates",
        help="Compute a crystal once, however its cell, origin and order of atoms are chosen: those within so many Å "
        "are the same. By default only structures that are equal to the last digit.",
        metavar="ANGSTROM",
        show_default=False,
    ),
]
PARQUET: TypeAlias = Annotated[bool, typer.Option("--parquet", help="Write NAME.parquet too.")]
PAGE: TypeAlias = Annotated[
    bool, typer.Option("--page", help="Write NAME.html too: one page to sort, filter, plot and look at the structures.")
]
INDEX: TypeAlias = Annotated[
    str, typer.Option("--index", help="Frames of each file: a number or a slice such as :, 0:10 or ::2.")
]
FRESH: TypeAlias = Annotated[
    bool, typer.Option("--fresh", help="Compute everything again, forgetting what the table holds of these settings.")
]
RETRY_FAILED: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--retry-failed", help="Compute again what failed, also single properties, and nothing else that is done."
    ),
]
EXPORT_ONLY: TypeAlias = Annotated[
    bool, typer.Option("--export-only", help="Compute nothing: write the outputs of what the table holds by now.")
]
