"""Do molecules and crystals hold in dynamics: bonds, temperature, distances, with the model that is shipped.

    GFM_ASE_DATA=... python -m benchmarks.molecules_md --model model.safetensors --output runs/md --temperature-K 300
    ... --temperature-K 500          # the temperature that rMD17 was sampled at: h(r) can be compared
    ... --only steps --ps 1          # NVE with half, once and twice the time step
    ... --only crystals --ps 10 --timestep-fs 2

The ten molecules of rMD17 in one batch, Langevin (BAOAB, friction 0.01/fs), from relaxed frames of the *training*
files. A run that was interrupted goes on when the same command is given again. What was found is kept as OUTPUT/*.json;
with --page the section `molecules` of that page is written anew from all of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.card.page import write_sections
from benchmarks.card.subject import Record, open_subject
from benchmarks.machine import describe
from benchmarks.molecules.report import pictures, section
from benchmarks.molecules.runs import Plan, crystals, molecules, steps
from gfm_ase.plots import save_figure
from train.journal import write_json

KINDS = {"molecules": molecules, "crystals": crystals, "steps": steps}


def kept(output: Path) -> dict[str, Record]:
    """What was found before: time steps first, then molecules by temperature, then crystals."""
    order = {"steps": 0, "molecules": 1, "crystals": 2}
    paths = [path for path in sorted(output.glob("*.json")) if path.stem.partition("_")[0] in order]
    paths.sort(key=lambda path: order[path.stem.partition("_")[0]])
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def draw(records: dict[str, Record], output: Path, page: Path | None) -> None:
    """Pictures beside what was found, and beside the page."""
    for folder in [output / "pictures", *([] if page is None else [page.parent / "pictures"])]:
        folder.mkdir(parents=True, exist_ok=True)
        for file, figure in pictures(records).items():
            save_figure(figure, folder / file)
    if page is not None:
        write_sections(page, {"molecules": section(records)})


def main(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    model: Annotated[Path, typer.Option(help="The checkpoint.")],
    output: Annotated[Path, typer.Option(help="Folder of trajectories and of what is found.")],
    ps: Annotated[float, typer.Option(help="Length of each run.")] = 100.0,
    temperature_k: Annotated[float, typer.Option("--temperature-K", help="Of the thermostat.")] = 300.0,
    replicas: Annotated[int, typer.Option(help="Runs of each molecule.")] = 1,
    timestep_fs: Annotated[float, typer.Option(help="Time step.")] = 0.5,
    only: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = "molecules",
    data: Annotated[Path | None, typer.Option(help="Folder of the data sets; by default GFM_ASE_DATA.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write its section, and pictures beside it.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    compiled: Annotated[bool, typer.Option("--compiled", help="Compile the potential.")] = False,
    drawn: Annotated[bool, typer.Option("--draw", help="Run nothing; draw what was kept.")] = False,
) -> None:
    """Run, look, and write down."""
    torch.set_num_threads(threads)
    if only not in KINDS:
        raise ValueError(f"there is no kind {only!r}; there are {', '.join(KINDS)}")
    output.mkdir(parents=True, exist_ok=True)
    if not drawn:
        subject = open_subject(model, data, output, compiled=compiled)
        plan = Plan(ps, temperature_k, replicas, timestep_fs)
        found = KINDS[only](subject, output, plan)
        name = only if only == "steps" else f"{only}_{temperature_k:.0f}K"
        write_json(output / f"{name}.json", {**found, "machine": describe()})
    records = kept(output)
    draw(records, output, page)
    Console().print(section(records), markup=False)


if __name__ == "__main__":
    typer.run(main)
