"""Does learning many levels of theory at once help? Errors of three ways on every test file.

    GFM_ASE_DATA=... python -m benchmarks.multi_task --multi runs/foundation/model.safetensors --single runs/single \
        --tuned runs/tuned --output runs/multi_task --page docs/multi_task.md

Folders of `--single` and `--tuned` hold a run for each set, made by recipes/single.toml and recipes/tuned.toml: it is
named like the test file (`Si` for mlearn/Si_test.extxyz.gz) or, where there is none, like the head (`pbe_def2svp`).
Errors are those of `gfm-ase evaluate`. Test splits are read here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks.card.errors import errors_of
from benchmarks.card.page import write_sections
from benchmarks.card.sets import GROUPS, Group, SetFile
from benchmarks.card.subject import Record, Subject, number, open_subject, table
from benchmarks.model_card import showing
from gfm_ase.plots import save_figure
from train.journal import write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAYS = {"single": "by itself", "multi": "all at once", "tuned": "all at once, then trained on"}
COLOURS = {"multi": "#4477aa", "tuned": "#228833"}
FILE, SECTION, PICTURE = "multi_task.json", "multi_task", "multi_task.png"


def short(test: SetFile) -> str:
    """What a file is called in a table: mlearn/Si, acac/300K, mptrj_1k."""
    folder, _, file = test.file.removesuffix(".extxyz.gz").partition("/")
    part = file.replace("_test", "").replace("test_", "").replace("test", "")
    return f"{folder}/{part}" if part else folder


def checkpoint_of(folder: Path, test: SetFile) -> Path | None:
    """The run of a folder that answers for a file: that of its own name, or that of its head."""
    names = (short(test).rpartition("/")[2], test.head)
    paths = (folder / name / "model.safetensors" for name in names)
    return next((path for path in paths if path.exists()), None)


def errors_by_way(test: SetFile, subjects: dict[str, Subject]) -> dict[str, Record]:
    """Errors of each way that has a checkpoint for the file; its head may be called like the set."""
    found = {}
    for way, subject in subjects.items():
        heads = subject.loaded.potential.heads
        head = test.head if test.head in heads else short(test).rpartition("/")[2]
        if head in heads:
            found[way] = errors_of(subject, dataclasses.replace(test, head=head))
    return found


def measure(multi: Path, folders: dict[str, Path], data: Path | None, output: Path) -> list[Record]:
    """A row for each test file of which some run has learnt the level of theory."""
    opened: dict[Path, Subject] = {}
    rows: list[Record] = []
    tests = [(name, test) for name, group in GROUPS.items() for test in group.files]
    with showing(Console()) as show:
        for place, (name, test) in enumerate(tests):
            show(test.file, place, len(tests))
            paths = {way: checkpoint_of(folder, test) for way, folder in folders.items()} | {"multi": multi}
            used = {way: path for way, path in paths.items() if path is not None}
            for path in used.values():
                opened.setdefault(path, open_subject(path, data, output))
            ways = errors_by_way(test, {way: opened[path] for way, path in used.items()})
            rows.append({"group": name, "file": test.file, "set": short(test), "ways": ways})
    return rows


def section(rows: Sequence[Record]) -> str:
    """A table for each group, and in how many files each way has the smallest error of forces."""
    parts = []
    for name, group in GROUPS.items():
        own = [row for row in rows if row["group"] == name]
        lines = [[f"`{row['set']}`", *(cell(group, row, way) for way in WAYS), gain(row)] for row in own]
        columns = ["set", *WAYS.values(), "forces, at once : by itself"]
        parts.append(f"**{group.title}.**\n\n{table(columns, lines)}")
    return "\n\n".join([*parts, summary(rows), f"![errors relative to single-task training](pictures/{PICTURE})"])


def cell(group: Group, row: Record, way: str) -> str:
    """Errors of one way as the group reports them; the best forces of the row in bold."""
    if way not in row["ways"]:
        return "–"
    errors: dict[str, Any] = row["ways"][way]["errors"]
    text = "/".join(number(errors.get(one.key), one.factor) for one in group.quantities)
    return f"**{text}**" if best(row) == way and len(row["ways"]) > 1 else text


def forces(row: Record, way: str) -> float | None:
    """MAE, eV/Å; of the energy per atom in files without forces."""
    errors = row["ways"].get(way, {}).get("errors", {})
    found: float | None = errors.get("forces_mae_eV_per_A", errors.get("energy_mae_eV_per_atom"))
    return found


def best(row: Record) -> str:
    """The way of the smallest error of forces."""
    known = {way: value for way in row["ways"] if (value := forces(row, way)) is not None}
    return min(known, key=known.__getitem__)


def gain(row: Record) -> str:
    """The error of the shared model as a multiple of the single one's."""
    alone, shared = forces(row, "single"), forces(row, "multi")
    return "–" if not alone or shared is None else f"{shared / alone:.2f}"


def summary(rows: Sequence[Record]) -> str:
    """How often each way is best."""
    whole = [row for row in rows if set(row["ways"]) == set(WAYS)]
    counts = {way: sum(best(row) == way for row in whole) for way in WAYS}
    told = ", ".join(f"{words} in {counts[way]}" for way, words in WAYS.items())
    return f"Smallest error of forces, of {len(whole)} files that all three ways have: {told}."


def picture(rows: Sequence[Record]) -> Figure:
    """Errors of forces as multiples of single-task training's, a line for each file."""
    from matplotlib.figure import Figure

    whole = [row for row in rows if forces(row, "single") and len(row["ways"]) > 1]
    figure = Figure(figsize=(7.5, 1.2 + 0.24 * max(1, len(whole))), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(whole)):
        alone = forces(row, "single") or 1.0
        for way, colour in COLOURS.items():
            value = forces(row, way)
            if value is not None:
                axes.plot(value / alone, place, "o", color=colour, label=WAYS[way] if place == 0 else None)
    axes.axvline(1.0, color="0.4", lw=1)
    axes.set_yticks(range(len(whole)), [row["set"] for row in reversed(whole)], fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks(ticks := [0.25, 0.5, 1, 2, 4], [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("error of forces, as a multiple of that of a model trained by itself (left of the line: helps)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 1.2 / (2 + len(whole))), ncols=2, frameon=False)
    axes.grid(axis="x", alpha=0.3)
    return figure


def main(  # noqa: PLR0917 - typer: every option is an argument
    multi: Annotated[Path, typer.Option(help="The checkpoint that has learnt all sets.")],
    single: Annotated[Path, typer.Option(help="Folder of the runs of one set each.")],
    tuned: Annotated[Path, typer.Option(help="Folder of the runs that went on with one set each.")],
    output: Annotated[Path, typer.Option(help="Folder of what is measured.")],
    page: Annotated[Path | None, typer.Option(help="Write its section, and the picture beside it.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the data sets; by default GFM_ASE_DATA.")] = None,
    drawn: Annotated[bool, typer.Option("--draw", help="Measure nothing; draw what was kept.")] = False,
) -> None:
    """Measure, print the table, and write it down."""
    torch.set_num_threads(1)
    output.mkdir(parents=True, exist_ok=True)
    if not drawn:
        write_json(output / FILE, {"rows": measure(multi, {"single": single, "tuned": tuned}, data, output)})
    rows = json.loads((output / FILE).read_text(encoding="utf-8"))["rows"]
    print(section(rows))
    save_figure(picture(rows), output / PICTURE)
    if page is not None:
        (page.parent / "pictures").mkdir(exist_ok=True)
        save_figure(picture(rows), page.parent / "pictures" / PICTURE)
        write_sections(page, {SECTION: section(rows)})


if __name__ == "__main__":
    typer.run(main)
