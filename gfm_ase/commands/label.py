"""`gfm-ase label`: energies, forces and stresses of many structures by a reference calculator."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import md_workflows
from gfm_ase.commands import screen_options
from gfm_ase.commands.announce import announce
from gfm_ase.commands.options import STRUCTURES
from gfm_ase.commands.screening import INTERRUPTED, read_tables
from gfm_ase.commands.spreading import LateBar, chosen_executor, counted

CALCULATOR = Annotated[
    str,
    typer.Option(
        "--calculator",
        metavar="NAME",
        help="xtb (GFN2-xTB of tblite), emt, or module:callable, which makes an ASE calculator; its code is run.",
        show_default=False,
    ),
]
SETTINGS = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the calculator: method=GFN1-xTB; many times."),
]
OUTPUT = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="The labelled structures; NAME.failures.csv and the table NAME.db lie beside them."
    ),
]
TIMEOUT = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        help="Seconds after which a structure has failed; the calculator then runs in a process of its own.",
        metavar="SECONDS",
        show_default=False,
    ),
]
EXECUTOR_FILE = Annotated[
    Path | None,
    typer.Option(
        "--settings", help="TOML file with [executor], say for jobs of Slurm.", metavar="FILE.TOML", show_default=False
    ),
]
CHUNK = Annotated[
    int, typer.Option("--chunk", help="Structures that a worker gets at once; a kill loses what is under way.", min=1)
]
RETRY = Annotated[bool, typer.Option("--retry-failed", help="Label again what failed, and nothing else that is done.")]
FRESH = Annotated[bool, typer.Option("--fresh", help="Label everything again, forgetting what the table holds.")]


def label(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    structures: STRUCTURES,
    calculator: CALCULATOR,
    output: OUTPUT = Path("labelled.extxyz"),
    settings: SETTINGS = None,
    workers: screen_options.WORKERS = None,
    executor: screen_options.EXECUTOR = None,
    executor_file: EXECUTOR_FILE = None,
    chunk: CHUNK = 1,
    timeout: TIMEOUT = None,
    index: screen_options.INDEX = ":",
    retry_failed: RETRY = False,
    fresh: FRESH = False,
) -> None:
    """Label structures as they are, ready for `gfm-ase train`; a structure that fails is a row with its reason.

    Give the same command again after any end, and it goes on. Charge and unpaired electrons are those of `charge` and
    `spin` in atoms.info. The exit code is 1 where nothing could be labelled.

    Example: gfm-ase label chosen.extxyz --calculator xtb --workers 4 -o labelled.extxyz
    """
    from md_workflows.labelling.calculators import CalculatorSpec
    from md_workflows.labelling.run import LabelFiles, LabellingSettings
    from md_workflows.labelling.run import label as label_all

    files = LabelFiles.of(output)
    how = LabellingSettings(timeout_s=timeout, chunk=chunk, retry_failed=retry_failed, resume=not fresh)
    spec = CalculatorSpec(calculator, tuple(settings or ()))
    streamed = md_workflows.read_structures(structures, index)
    console = Console()
    table = _executor_table(executor_file)
    with _pool(chosen_executor(executor, workers, table)) as (works, pool), ExitStack() as stack:
        if not works:
            return
        progress = LateBar("labelling", console, stack)
        items = counted(streamed, console, stack)
        try:
            result = label_all(items, files, spec, how, pool=pool, progress=progress)
        except KeyboardInterrupt:
            stack.close()
            announce(console, f"Interrupted; {progress.told} in {files.table}. The same command goes on from there.")
            raise typer.Exit(INTERRUPTED) from None
    _tell(console, result)
    if not result.labelled:
        raise typer.Exit(1)


def _executor_table(path: Path | None) -> dict[str, Any]:
    tables = read_tables(path)
    other = sorted(set(tables) - {"executor"})
    if other:
        raise ValueError(f"{path}: [{other[0]}] is not known; labelling has settings of [executor] alone.")
    return tables.get("executor", {})


class _Opened:
    """Whether this process keeps the table, and the pool of workers, if any."""

    def __init__(self, pool: AbstractContextManager[Any]) -> None:
        self._pool = pool

    def __enter__(self) -> tuple[bool, Any]:
        pool = self._pool.__enter__()
        return pool is not None, pool

    def __exit__(self, *raised: Any) -> bool | None:
        return self._pool.__exit__(*raised)


def _pool(chosen: tuple[str, dict[str, Any]] | None) -> AbstractContextManager[tuple[bool, Any]]:
    """The workers; a process of MPI that only works is told so, at the end."""
    return nullcontext((True, None)) if chosen is None else _Opened(md_workflows.open_pool(*chosen))


def _tell(console: Console, result: Any) -> None:
    parts = [f"{result.labelled} labelled", f"{result.failed} failed"]
    if result.duplicates:
        parts.append(f"{result.duplicates} equal to others")
    announce(
        console, f"{', '.join(parts)} ({result.resumed} known from the table).", f"Labelled: {result.files.labelled}"
    )
    if result.failed:
        announce(console, f"Failures: {result.files.failures}")
