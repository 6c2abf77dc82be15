"""A model in use on solids: elements, diamond and β-tin, order of polymorphs; beside DFT.

    GFM_ASE_DATA=... python -m benchmarks.model_solids --model gfm1 --head pbe_metals --markdown
    GFM_ASE_DATA=... python -m benchmarks.model_solids --model gfm1 --output solids.json \
        --picture docs/pictures/model_solids.png --page docs/proof_solids.md

What is computed how, and what of it the model was trained on, is in docs/proof_solids.md. One thread unless --threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks.card.page import write_sections
from benchmarks.in_use.beta_tin import compare_phases
from benchmarks.in_use.elements import compare_elements
from benchmarks.in_use.polymorphs import compare_ranking, rankings
from benchmarks.in_use.solids_picture import solids_figure
from benchmarks.in_use.solids_tables import markdown
from benchmarks.machine import describe
from gfm_ase import load
from gfm_ase.calculator import GFMCalculator
from gfm_ase.loading import Loaded
from gfm_ase.plots import check_picture, save_figure
from md_workflows import Engine, engine_for

SECTIONS = ("elements", "phases", "polymorphs")


def main(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    model: Annotated[Path, typer.Option(help="Checkpoint.")],
    head: Annotated[str, typer.Option(help="Head of the theory of mlearn.")] = "pbe_metals",
    mp_head: Annotated[str, typer.Option(help="Head of the Materials Project's theory.")] = "pbe_mp",
    lda_head: Annotated[str, typer.Option(help="Head of the LDA carbon set.")] = "lda",
    data: Annotated[Path | None, typer.Option(envvar="GFM_ASE_DATA", help="Folder of the data sets.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write all numbers to this JSON file.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw curves and surfaces to this file.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print tables in Markdown, nothing else.")] = False,
    only: Annotated[str, typer.Option(help=f"Sections, with commas: {', '.join(SECTIONS)}.")] = ",".join(SECTIONS),
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    page: Annotated[Path | None, typer.Option(help="Write the section of this page.")] = None,
) -> None:
    """Compute all sections, and print their tables."""
    torch.set_num_threads(threads)
    sections = _sections(only)
    if data is None:
        raise typer.BadParameter("no data sets: set GFM_ASE_DATA, or give --data.")
    if picture is not None:
        check_picture(picture)
    heads = {"metals": head, "mp": mp_head, "lda": lda_head}
    found = compute(load(model), heads, data, sections)
    found |= {"model": model.name, "machine": describe(), "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    if output is not None:
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if picture is not None:
        save_figure(solids_figure(found), picture)
    text = markdown(found)
    if page is not None:
        write_sections(page, {"solids": text})
    if as_markdown:
        print(text)
    else:
        Console(width=150).print(text, markup=False, highlight=False)


def _sections(only: str) -> list[str]:
    asked = [name.strip() for name in only.split(",")]
    unknown = [name for name in asked if name not in SECTIONS]
    if unknown:
        raise typer.BadParameter(f"--only: {', '.join(unknown)} is not known; allowed are {', '.join(SECTIONS)}.")
    return asked


def compute(loaded: Loaded, heads: dict[str, str], data: Path, sections: list[str]) -> dict[str, Any]:
    """All numbers by section; `seconds` of clock and processor by section; `missing`: heads that the model lacks.

    heads: names by "metals", "mp" and "lda".

    Raises:
        ValueError: a data set is not in `data`, or the model has none of the heads.
    """
    there = {kind: name for kind, name in heads.items() if name in loaded.potential.heads}
    if not there:
        raise ValueError(
            f"the model has none of the heads {', '.join(heads.values())}; it has {', '.join(loaded.potential.heads)}."
        )
    engines = {kind: engine_for(GFMCalculator(loaded, head=name)) for kind, name in there.items()}
    found: dict[str, Any] = {"heads": there, "seconds": {}}
    found["missing"] = [f"no head {name}" for kind, name in heads.items() if kind not in there]
    calls: dict[str, Callable[[dict[str, Engine]], Any]] = {
        "elements": lambda ready: compare_elements(data, ready["metals"]) if "metals" in ready else {},
        "phases": phases,
        "polymorphs": lambda ready: [
            compare_ranking(one, ready[one.head]) | {"head": there[one.head]}
            for one in rankings(data)
            if one.head in ready
        ],
    }
    console = Console(stderr=True)
    for section in sections:
        began, busy = time.perf_counter(), time.process_time()
        with console.status(f"{section} ..."):
            found[section] = calls[section](engines)
        found["seconds"][section] = (time.perf_counter() - began, time.process_time() - busy)
    return found


def phases(engines: dict[str, Engine]) -> dict[str, dict[str, Any]]:
    """Diamond and β-tin of Si and Ge by each PBE head there is, relaxed from PBE's lattice constants."""
    starts = {"Si": 5.47, "Ge": 5.78}
    return {
        kind: {element: compare_phases(element, a0, engines[kind]) for element, a0 in starts.items()}
        for kind in ("metals", "mp")
        if kind in engines
    }


if __name__ == "__main__":
    typer.run(main)
