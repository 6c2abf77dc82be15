"""The options of what happens to structures that a potential does not know, which md, relax and screen share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

MAX_UNCERTAINTY: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--max-uncertainty",
        help="Limit on the uncertainty of a force component, the largest of the atoms, in eV/Å; needs a checkpoint "
        "that knows it (gfm-ase ensemble, gfm-ase calibrate). What happens above: --uncertain.",
        metavar="EV_PER_A",
        show_default=False,
    ),
]
UNCERTAIN: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--uncertain",
        help="What happens above --max-uncertainty: stop (end that run or relaxation), mark (frames and rows say "
        "uncertain), keep (mark, and put structures for labelling into a file of candidates) [stop].",
        metavar="stop|mark|keep",
        show_default=False,
    ),
]
CANDIDATES: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--candidates",
        help="The file of candidates (.extxyz), by default beside the output. With stop: the structures that were "
        "stopped.",
        metavar="FILE",
        show_default=False,
    ),
]
CANDIDATE_INTERVAL: TypeAlias = Annotated[
    int | None,
    typer.Option("--candidate-interval", help="At least so many steps from candidate to candidate [100].", min=1),
]
MOST_CANDIDATES: TypeAlias = Annotated[
    int | None, typer.Option("--most-candidates", help="So many candidates of a run at most [100].", min=1)
]


def policy_values(limit: float | None, action: str | None, candidates: Path | None, **other: Any) -> Any:
    """The options as values of UncertaintyPolicy, None where no limit is set.

    Raises:
        ValueError: what happens above a limit, and no limit.
    """
    given = {"action": action, "candidates": candidates, **other}
    asked = {name: value for name, value in given.items() if value is not None}
    if limit is None:
        if asked:
            raise ValueError(
                "--uncertain and options of candidates say what happens above a limit; give it: --max-uncertainty."
            )
        return None
    return {"limit": limit, **asked}
