"""The card of a model: what it holds, its errors, what it does to two atoms, whether energy stays, how fast it is.

    GFM_ASE_DATA=... python -m benchmarks.model_card --model runs/foundation/model.safetensors --output runs/card \
        --page docs/model.md

Each part is measured and kept as OUTPUT/PART.json, and drawn below OUTPUT/pictures. With --page the sections of that
page between the markers of each part are written anew, and pictures are put beside it. `--only facts,errors` measures
some parts; `--draw` measures nothing and writes what was kept. Test splits are read here and nowhere else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress as Bar

from benchmarks.card.page import write_sections
from benchmarks.card.parts import PARTS
from benchmarks.card.subject import Part, Progress, Record, open_subject
from gfm_ase.plots import save_figure
from train.journal import write_json


@contextmanager
def showing(console: Console) -> Iterator[Progress]:
    """A line that says what is being done."""
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task("")

        def show(what: str, done: int, total: int | None) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield show


def chosen(only: str | None, parts: Mapping[str, Part]) -> dict[str, Part]:
    """The parts that are named, or all.

    Raises:
        ValueError: there is no such part.
    """
    names = list(parts) if only is None else [name.strip() for name in only.split(",")]
    unknown = sorted(set(names) - set(parts))
    if unknown:
        raise ValueError(f"there is no part {', '.join(unknown)}; there are {', '.join(parts)}")
    return {name: parts[name] for name in names}


def draw(records: Mapping[str, Record], parts: Mapping[str, Part], output: Path, page: Path | None) -> None:
    """Pictures and sections of what was measured; the page's pictures lie in `pictures` beside it."""
    folders = [output / "pictures", *([] if page is None else [page.parent / "pictures"])]
    sections = {}
    for name, record in records.items():
        sections[name] = parts[name].section(record)
        for file, figure in parts[name].pictures(record).items():
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
                save_figure(figure, folder / file)
    if page is not None:
        write_sections(page, sections)


def kept(output: Path, parts: Mapping[str, Part]) -> dict[str, Record]:
    """What was measured before."""
    paths = {name: output / f"{name}.json" for name in parts}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def main(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    model: Annotated[Path, typer.Option(help="The checkpoint.")],
    output: Annotated[Path, typer.Option(help="Folder of what is measured.")],
    page: Annotated[Path | None, typer.Option(help="Write its sections, and pictures beside it.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the data sets; by default GFM_ASE_DATA.")] = None,
    only: Annotated[str | None, typer.Option(help=f"Some of {', '.join(PARTS)}, separated by commas.")] = None,
    frames: Annotated[int | None, typer.Option(help="At most so many of each test file.")] = None,
    earlier: Annotated[
        list[Path] | None, typer.Option(help="Folder of a training that this one went on from; many times, in order.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    compiled: Annotated[bool, typer.Option("--compiled", help="Speed of the compiled potential too.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps; for a first look.")] = False,
    drawn: Annotated[bool, typer.Option("--draw", help="Measure nothing; draw what was kept.")] = False,
) -> None:
    """Measure, and write down."""
    torch.set_num_threads(threads)
    console, parts = Console(), chosen(only, PARTS)
    output.mkdir(parents=True, exist_ok=True)
    if not drawn:
        with showing(console) as show:
            settings = {"frames": frames, "compiled": compiled, "quick": quick, "progress": show}
            subject = open_subject(model, data, output, earlier or (), **settings)
            for name, part in parts.items():
                began = time.perf_counter()
                write_json(output / f"{name}.json", part.measure(subject))
                console.print(f"{name}: {time.perf_counter() - began:.0f} s")
    draw(kept(output, parts), parts, output, page)


if __name__ == "__main__":
    typer.run(main)
