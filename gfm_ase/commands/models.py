"""`gfm-ase models`: the models that come with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gfm_ase.commands.announce import announce

if TYPE_CHECKING:
    from potentials.models.shipped import ShippedModel

NAME = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="Tell more of this model: its data, licences, counts.", show_default=False),
]


def models(name: NAME = None) -> None:
    """Show the models that come with the package, and what each of their heads is good for.

    The name of a model may stand wherever a command takes a checkpoint.

    Example: gfm-ase models gfm1
    """
    from potentials.models.registry import MODELS

    if name is not None and name not in MODELS:
        raise ValueError(f"no model {name!r} comes with the package; there is {', '.join(MODELS)}")
    console = Console()
    for model in MODELS.values() if name is None else [MODELS[name]]:
        _show(model, console, more=name is not None)


def _show(model: ShippedModel, console: Console, *, more: bool) -> None:
    from potentials.checkpoint import read_manifest

    announce(console, f"{model.name}: {model.about}")
    records = read_manifest(model.path).heads if model.path.is_file() else {}
    if not records:
        announce(console, f"Its file is not in this installation: {model.path}")
    console.print(_heads(model, records, more=more))
    if more:
        console.print(_data(model))
        announce(console, f"File: {model.path}")
    announce(console, f'Use: GFMCalculator("{model.name}", head=...), or --head with any command')


def _heads(model: ShippedModel, records: dict[str, Any], *, more: bool) -> Table:
    from gfm_ase.heads import elements_of, kinds_of

    table = Table(show_lines=True)
    for column in ("head", "theory", "elements", "trained on", "good for"):
        table.add_column(column, overflow="fold")
    for name, head in model.heads.items():
        record = records.get(name)
        elements, kinds = ("?", "?") if record is None else (elements_of(record), kinds_of(record) or "?")
        if more and record is not None:
            elements = " ".join(record.elements)
            kinds = f"{kinds}: {record.structures.get('train', 0):,} structures of {', '.join(head.data)}"
        table.add_row(name, head.theory, elements, kinds, head.good_for)
    return table


def _data(model: ShippedModel) -> Table:
    table = Table(title="Data: please cite what you use", title_justify="left")
    for column in ("set", "citation", "licence"):
        table.add_column(column, overflow="fold")
    for one in model.data:
        table.add_row(one.name, one.citation, one.licence)
    return table
