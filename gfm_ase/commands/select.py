"""`gfm-ase select`: which structures of molecular dynamics and screening are worth a label."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import md_workflows
from gfm_ase.commands.announce import announce
from gfm_ase.commands.options import DEVICE, DTYPE, HEAD, STRUCTURES, check_outputs

COUNT = Annotated[
    int, typer.Option("--count", "-n", help="How many to choose.", metavar="NUMBER", min=1, show_default=False)
]
CHECKPOINT = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Computes uncertainties and describes structures by what it has learnt; without it, uncertainties are"
        " those that frames hold, and structures are described by distances of neighbours.",
        show_default=False,
    ),
]
KNOWN = Annotated[
    list[Path] | None,
    typer.Option(
        "--training",
        help="Files that are labelled already; what is like them is not chosen; many times.",
        metavar="FILE",
    ),
]
OUTPUT = Annotated[Path, typer.Option("--output", "-o", help="The chosen structures, best first (.extxyz).")]
BY = Annotated[
    str,
    typer.Option(
        "--by", help="both (uncertainty times distance to what is chosen or known), uncertainty, diversity or random."
    ),
]
LOWEST = Annotated[
    float | None, typer.Option("--min-uncertainty", help="eV/Å; what is below is known well.", show_default=False)
]
HIGHEST = Annotated[
    float | None,
    typer.Option("--max-uncertainty", help="eV/Å; what is above is broken, not worth a label.", show_default=False),
]
CLOSEST = Annotated[
    float,
    typer.Option("--closest", help="Leave out structures with atoms nearer than so many sums of their covalent radii."),
]
APART = Annotated[
    float,
    typer.Option(
        "--apart", help="Leave out what is as near as this to one chosen or labelled; the median distance is 1."
    ),
]
SEED = Annotated[int, typer.Option("--seed", help="Of --by random.")]
INDEX = Annotated[str, typer.Option("--index", help="Frames of each file: a number or a slice such as :, 0:10 or ::2.")]
JSON = Annotated[Path | None, typer.Option("--json", help="Write what was chosen, and why, to this JSON file.")]
PLOT = Annotated[
    Path | None, typer.Option("--plot", help="Draw candidates, chosen and labelled ones (.png, .svg or .pdf).")
]


def select(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    structures: STRUCTURES,
    count: COUNT,
    checkpoint: CHECKPOINT = None,
    training: KNOWN = None,
    output: OUTPUT = Path("selected.extxyz"),
    by: BY = "both",
    min_uncertainty: LOWEST = None,
    max_uncertainty: HIGHEST = None,
    closest: CLOSEST = 0.6,
    apart: APART = 1e-3,
    seed: SEED = 0,
    index: INDEX = ":",
    json_file: JSON = None,
    plot: PLOT = None,
    head: HEAD = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
) -> None:
    """Choose structures that are worth a label: uncertain ones, unlike each other and what is labelled already.

    Example: gfm-ase select md.traj --checkpoint model.safetensors --training train.extxyz -n 50 -o chosen.extxyz
    """
    from md_workflows.frames import write_frames
    from md_workflows.selection import SelectionSettings, read_candidates
    from md_workflows.selection import select as choose

    if output.suffix != ".extxyz":
        raise ValueError(f"{output}: chosen structures are written as .extxyz, and not as '{output.suffix}'.")
    check_outputs(output, json_file, pictures=(plot,))
    values = {"min_uncertainty": min_uncertainty, "max_uncertainty": max_uncertainty, "closest": closest}
    settings = md_workflows.parse_settings(SelectionSettings, {"by": by, "apart": apart, "seed": seed, **values})
    streamed = read_candidates(structures, index)
    known = md_workflows.read_structures(training) if training else ()
    describer = None if checkpoint is None else _describer(checkpoint, head, device, dtype)
    console = Console()
    with ExitStack() as stack:
        bars = _Bars(console, stack)
        selection = choose(streamed, count, settings, describer=describer, known=known, progress=bars)
    write_frames(output, selection.chosen_of(read_candidates(structures, index)))
    _tell(console, selection, output, count)
    _write_also(console, selection, settings, json_file, plot)


def _tell(console: Console, selection: Any, output: Path, count: int) -> None:
    console.print(_summary(selection))
    found = len(selection.chosen)
    rest = f"{found} of {count}: all others are left out, or as good as chosen or labelled already."
    announce(console, *selection.errors, *([rest] if found < count else []), f"Chosen: {output}")


def _write_also(console: Console, selection: Any, settings: Any, json_file: Path | None, plot: Path | None) -> None:
    if json_file is not None:
        from train.journal import write_json

        write_json(json_file, _as_json(selection, settings))
        announce(console, f"JSON: {json_file}")
    if plot is not None:
        from gfm_ase.plots import save_figure
        from gfm_ase.selection_picture import selection_figure

        save_figure(selection_figure(selection), plot)
        announce(console, f"Picture: {plot}")


def _describer(checkpoint: Path, head: str | None, device: str, dtype: str | None) -> Any:
    from gfm_ase.commands.calculator import build_calculator
    from md_workflows.selection import ModelDescriber

    calculator = build_calculator(checkpoint, head, device, dtype, compiled=False)
    return ModelDescriber(calculator.potential, calculator.evaluator(), calculator.batch_model().check)


class _Bars:
    """A bar for reading, then one for choosing."""

    def __init__(self, console: Console, stack: ExitStack) -> None:
        self._console, self._stack = console, stack
        self._bars: dict[bool, Any] = {}

    def __call__(self, done: int, total: int | None) -> None:
        """Show how many are read, or chosen of how many."""
        choosing = total is not None
        if choosing not in self._bars:
            self._stack.close()
            words = "choosing" if choosing else "describing"
            self._bars[choosing] = self._stack.enter_context(
                md_workflows.progress_bar(words, "structures", self._console)
            )
        self._bars[choosing](done, total)


def _summary(selection: Any) -> Table:
    table = Table(title=f"{len(selection.chosen)} chosen of {selection.read} structures", title_justify="left")
    table.add_column("")
    table.add_column("structures", justify="right")
    table.add_column("uncertainty, eV/Å: median", justify="right")
    table.add_column("lowest", justify="right")
    table.add_column("highest", justify="right")
    chosen = [choice.uncertainty for choice in selection.chosen]
    for name, values in (("candidates", selection.uncertainty), ("chosen", chosen)):
        table.add_row(name, str(len(values)), *_statistics(values))
    for reason, number in sorted(selection.left_out.items()):
        table.add_row(f"left out: {reason}", str(number), "", "", "")
    table.add_row("labelled already", str(len(selection.known)), "", "", "")
    return table


def _statistics(values: Any) -> tuple[str, str, str]:
    import numpy as np

    finite = np.asarray(values)[np.isfinite(values)] if len(values) else []
    if not len(finite):
        return ("unknown",) * 3
    return f"{np.median(finite):.3g}", f"{np.min(finite):.3g}", f"{np.max(finite):.3g}"


def _as_json(selection: Any, settings: Any) -> dict[str, Any]:
    return {
        "settings": settings.model_dump(),
        "read": selection.read,
        "candidates": len(selection.identifiers),
        "left_out": selection.left_out,
        "errors": selection.errors,
        "labelled_already": len(selection.known),
        "chosen": [
            {
                "rank": choice.rank,
                "identifier": choice.identifier,
                "uncertainty_eV_per_A": _finite(choice.uncertainty),
                "distance": _finite(choice.distance),
            }
            for choice in selection.chosen
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
