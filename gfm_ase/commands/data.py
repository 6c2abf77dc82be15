"""`gfm-ase data`: files of any kind into one packed store, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer
from rich.console import Console

from gfm_ase.commands.announce import announce

if TYPE_CHECKING:
    from train.config_dataset import DatasetConfig

app = typer.Typer(help="Pack data sets into stores: convert, merge, stats, validate.", no_args_is_help=True)

FILES: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Whatever ASE reads, or stores; globs.", show_default=False)
]
STORE: TypeAlias = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of a store.", show_default=False)]
STORES: TypeAlias = Annotated[list[Path], typer.Argument(metavar="STORE...", help="Folders.", show_default=False)]
OUTPUT: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", help="Folder of the store; one that is there is appended to.")
]
NEW: TypeAlias = Annotated[Path, typer.Option("--output", "-o", help="Folder of the new store.")]
NAME: TypeAlias = Annotated[str | None, typer.Option("--name", help="Of the data set [that of the folder].")]
SET: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A key of [[dataset]]: energy_key, energy_unit, forces_key, length_unit, stress_key, stress_unit,"
        " stress_sign, labels.NAME.key, ...; may be given several times.",
        show_default=False,
    ),
]
DROP: TypeAlias = Annotated[bool, typer.Option("--drop-bad", help="Leave out frames that cannot be right, counted.")]
MAX_FORCE: TypeAlias = Annotated[
    float | None, typer.Option("--max-force", help="eV/Å; frames with a larger force are left out, counted.")
]
DUPLICATES: TypeAlias = Annotated[
    bool, typer.Option("--drop-duplicates", help="Leave out geometries that are in the store already, counted.")
]
EXCLUDE: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="FILE",
        help="Leave out geometries that are in these files, such as a test split, counted; may be given several times.",
        show_default=False,
    ),
]
EVERY: TypeAlias = Annotated[
    int, typer.Option("--every", min=1, help="Keep one of so many structures, in the order of reading.")
]
TEXT = {
    "theory": "Level of theory of the labels.",
    "licence": "Of the data.",
    "citation": "Whom to cite.",
    "source": "Where the data are from.",
}
THEORY: TypeAlias = Annotated[str, typer.Option("--theory", help=TEXT["theory"])]
LICENCE: TypeAlias = Annotated[str, typer.Option("--licence", help=TEXT["licence"])]
CITATION: TypeAlias = Annotated[str, typer.Option("--citation", help=TEXT["citation"])]
SOURCE: TypeAlias = Annotated[str, typer.Option("--source", help=TEXT["source"])]


@app.command(no_args_is_help=True)
def convert(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    files: FILES,
    output: OUTPUT,
    name: NAME = None,
    settings: SET = None,
    drop_bad: DROP = False,
    max_force: MAX_FORCE = None,
    drop_duplicates: DUPLICATES = False,
    exclude: EXCLUDE = None,
    every: EVERY = 1,
    theory: THEORY = "",
    licence: LICENCE = "",
    citation: CITATION = "",
    source: SOURCE = "",
) -> None:
    """Read structures and labels, convert units once, and write them into a store that training maps into memory.

    Streams: memory holds one shard. Stopped in the middle, complete shards stay.

    Example: gfm-ase data convert 'water/*.extxyz' -o water.store --set energy_unit=Hartree --licence CC-BY-4.0
    """
    from train.progress import Reporter
    from train.sources.registry import SOURCES
    from train.store.convert import Conversion
    from train.store.convert import convert as run_conversion
    from train.store.manifest import Description

    about = Description(name=name or output.stem, theory=theory, licence=licence, citation=citation, source=source)
    values: dict[str, Any] = {"name": about.name, "train": list(files), "max_force": max_force}
    values["on_bad"] = "drop" if drop_bad else "raise"
    config = _config(values, settings or [])
    if config.format != "auto":
        known = SOURCES[config.format].about
        about = about.model_copy(update={key: getattr(about, key) or getattr(known, key) for key in TEXT})
    duplicates: Literal["drop", "keep"] = "drop" if drop_duplicates else "keep"
    conversion = Conversion(config, about, output, duplicates, tuple(exclude or ()), every)
    console = Console()
    with Reporter(console).reading() as progress:
        manifest = run_conversion(conversion, progress)
    for line in conversion.sieve.report():
        console.print(f"[yellow]{line}[/yellow]", highlight=False)
    announce(console, f"{manifest.structures:,} structures, {manifest.atoms:,} atoms: {output}")


@app.command(no_args_is_help=True)
def merge(stores: STORES, output: NEW, name: NAME = None) -> None:
    """Make one store of several of one level of theory; shards are linked, not copied, where the file system can.

    Example: gfm-ase data merge part-*.store -o whole.store
    """
    from train.store.convert import merge as run_merge
    from train.store.manifest import read_manifest

    about = read_manifest(stores[0]).about
    manifest = run_merge(stores, output, about.model_copy(update={"name": name or about.name}))
    announce(Console(), f"{manifest.structures:,} structures, {manifest.atoms:,} atoms: {output}")


@app.command(no_args_is_help=True)
def stats(store: STORE) -> None:
    """What a store holds: structures, atoms, elements, labels and their ranges, what was left out.

    Example: gfm-ase data stats water.store
    """
    from rich.table import Table

    from train.store.statistics import describe, quantities

    console = Console()
    for line in describe(store):
        console.print(line, highlight=False, soft_wrap=True)
    table = Table("label", "unit", "known", "mean", "rms", "least", "largest")
    for row in quantities(store):
        table.add_row(*row)
    console.print(table)


@app.command(no_args_is_help=True)
def validate(store: STORE) -> None:
    """Read all of a store: whether every shard is what was written, and every label a number.

    Example: gfm-ase data validate water.store
    """
    from train.store.reader import Store

    console, wrong = Console(), 0
    opened = Store(store)
    with console.status("reading"):
        for file, why in opened.check():
            if why:
                wrong += 1
                console.print(f"[red]{file}: {why}[/red]", highlight=False)
    if wrong:
        raise ValueError(f"{wrong} of {len(opened.shards)} shards of {store} are not whole")
    announce(console, f"{len(opened.shards)} shards, {len(opened):,} structures: whole")


def _config(values: dict[str, Any], settings: list[str]) -> DatasetConfig:
    from pydantic import ValidationError

    from train.config import toml_value
    from train.config_dataset import DatasetConfig
    from train.config_errors import sentences

    for text in settings:
        _put(values, text, toml_value)
    try:
        return DatasetConfig.model_validate(values)
    except ValidationError as error:
        raise ValueError("; ".join(sentences(error, DatasetConfig, values))) from None


def _put(values: dict[str, Any], text: str, value_of: Any) -> None:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ValueError(f"--set {text} is not of the form KEY=VALUE, such as energy_unit=Hartree")
    *tables, last = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
    values[last] = value_of(value)
