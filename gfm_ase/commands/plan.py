"""`gfm-ase plan`: what a training would take on so many devices, before it is paid for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console

from gfm_ase.commands.announce import announce

RUN: TypeAlias = Annotated[
    Path, typer.Argument(metavar="RUN.TOML", help="Run file: data, potential, batches.", show_default=False)
]
MACHINE: TypeAlias = Annotated[
    str, typer.Option("--machine", help="frontier, perlmutter, here (which is measured), or a TOML file.")
]
RANKS: TypeAlias = Annotated[
    str, typer.Option("--ranks", help="Processes, one a device: 16..16384 doubles, 1,2,4 are those.")
]
MIX: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--mix",
        help="TOML file with the sizes of data that are not at hand; `published` is HydraGNN's 154 million structures."
        " By default the training data of the run file.",
        show_default=False,
    ),
]
COSTS: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--costs", help="costs.json of another plan, measured there; by default measured here.", show_default=False
    ),
]
FASTER: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--times-faster", help="How many times as fast a device is as what costs are of: an assumption.", min=0.0
    ),
]
GLOBAL: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--global-batch",
        help="Batches of a step in strong scaling [batch.per_step, or the most --ranks].",
        min=1,
        show_default=False,
    ),
]
PER_RANK: TypeAlias = Annotated[int, typer.Option("--per-rank", help="Batches of a process in weak scaling.", min=1)]
FIXED: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--fixed-count",
        help="Structures of the batches of a fixed count that packed ones are compared with [as many on average].",
        min=1,
        show_default=False,
    ),
]
OVERLAP: TypeAlias = Annotated[
    float,
    typer.Option("--overlap", help="Share of the sum of gradients beside the pass back.", min=0.0, max=1.0),
]
REDUCTION: TypeAlias = Annotated[
    str, typer.Option("--reduction", help="Sums of gradients: hierarchical, or one ring through all processes.")
]
TASKS: TypeAlias = Annotated[
    bool, typer.Option("--task-parallel", help="Processes of their own for the head of each data set.")
]
OUTPUT: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder [the run file's output + _plan].", show_default=False)
]
OVERRIDES: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one setting of the run file; may be given several times."),
]
PICTURE: TypeAlias = Annotated[bool, typer.Option("--picture/--no-picture", help="Draw plan.png (extra `report`).")]


def plan(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    run_file: RUN,
    machine: MACHINE = "here",
    ranks: RANKS = "1,2",
    mix: MIX = None,
    costs: COSTS = None,
    times_faster: FASTER = None,
    global_batch: GLOBAL = None,
    per_rank: PER_RANK = 1,
    fixed_count: FIXED = None,
    overlap: OVERLAP = 0.0,
    reduction: REDUCTION = "hierarchical",
    task_parallel: TASKS = False,
    output: OUTPUT = None,
    overrides: OVERRIDES = None,
    picture: PICTURE = True,
) -> None:
    """Predict strong and weak scaling, energy and node-hours of a training on many devices.

    Steps are simulated from the sizes of the structures, measured costs of batches, the packing and dealing of the
    trainer, and sums of gradients over the machine's links. What is assumed is said. Leaves plan.json, plan.png and,
    where they were measured, costs.json.

    Example: gfm-ase plan run.toml --machine frontier --ranks 16..16384 --mix published --costs costs.json
    """
    from train.config import load_config
    from train.plan.machines import HERE, find_machine, parse_ranks
    from train.plan.network import check_reduction
    from train.plan.planning import Scaling, make_plan
    from train.plan.scaling import Plan
    from train.plan.step import Options

    if times_faster == 0:
        raise ValueError("--times-faster is 0; it must be greater")
    _check_picture(picture)
    options = Options(check_reduction(reduction), overlap)
    config, console = load_config(run_file, overrides or []), Console()
    folder = (output or config.output.with_name(f"{config.output.name}_plan")).absolute()
    where = _here(console) if machine == HERE else find_machine(machine)
    numbers = parse_ranks(ranks, where)
    work, populations, remarks = _work(config, _Given(mix, costs, times_faster, where.name, folder), console)
    options = replace(options, checkpoint_minutes=config.log.checkpoint_minutes)
    tasks = task_parallel or config.parallel.tasks
    made_of = Plan(populations, config.batch, work, where, options, config.seed, task_parallel=tasks)
    per_step = global_batch or config.batch.per_step or max(numbers)
    with _bars(console) as progress:
        planned = make_plan(made_of, Scaling(numbers, per_step, per_rank, fixed_count), remarks, progress)
    _show(planned, console)
    _leave(planned, folder, picture, console)


@dataclass(frozen=True)
class _Given:
    """What the costs and the data are taken from."""

    mix: str | None
    costs: Path | None
    times_faster: float | None
    machine: str
    folder: Path


def _work(config: Any, given: _Given, console: Console) -> tuple[Any, tuple[Any, ...], list[str]]:
    """Costs, data sets by size, and what is to be said of both; the run's data are read only if they are needed."""
    from train.plan.planning import of_costs, of_mix, populations_of
    from train.plan.sizes import read_mix
    from train.plan.work import measure_costs, read_costs, weights_of, work_of, write_costs

    mix = None if given.mix is None else read_mix(given.mix)
    found = None if given.costs is None else read_costs(given.costs)
    run: Any = None if mix is not None and found is not None else _run(config, console, timed=found is None)
    remarks: list[str] = []
    if found is None:
        with _bars(console) as progress:
            found, _ = measure_costs(run, lambda done, total: progress("measuring costs", done, total))
        given.folder.mkdir(parents=True, exist_ok=True)
        write_costs(given.folder / "costs.json", found)
    remarks += of_costs(found, given.times_faster, given.machine, given.costs)
    if mix is not None:
        populations, told = of_mix(mix)
        remarks += told
    else:
        populations = populations_of(run)
    if given.times_faster is not None:
        found = found.times_faster(given.times_faster)
    return work_of(found, weights_of(config), [one.name for one in populations]), populations, remarks


def _run(config: Any, console: Console, *, timed: bool) -> Any:
    """The run with its data, and compiled where it is to be timed."""
    from train.data import load_datasets
    from train.progress import Reporter
    from train.run import Run
    from train.warm_up import warm_up

    reporter = Reporter(console)
    with reporter.reading() as progress:
        datasets = load_datasets(config, progress)
    run = Run(config, datasets, reporter)
    if timed:
        with reporter.compiling(config.compile):
            warm_up(run)
    return run


def _here(console: Console) -> Any:
    from train.plan.here import measure_here

    with console.status("measuring this machine"):
        return measure_here()


def _check_picture(wanted: bool) -> None:
    if wanted:
        from gfm_ase.plots import check_picture

        try:
            check_picture(Path("plan.png"))
        except ValueError as error:
            raise ValueError(f"{error}; or give --no-picture") from None


@contextmanager
def _bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that is done: call the result with what, how much, of how much."""
    from train.progress import Reporter

    with Reporter(console).reading() as progress:
        yield progress


def _show(planned: Any, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from train.plan.tables import COLUMNS, NARROW, WIDE, rows

    shown = [number for number, name in enumerate(COLUMNS) if console.width >= WIDE or name not in NARROW]
    for title, points in planned.titled():
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for number in shown:
            table.add_column(COLUMNS[number], justify="right", no_wrap=True)
        for row in rows(points):
            table.add_row(*(row[number] for number in shown))
        console.print(table)
    announce(console, *planned.remarks)


def _leave(planned: Any, folder: Path, picture: bool, console: Console) -> None:
    from train.journal import write_json

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "plan.json", planned.as_json())
    files = ["plan.json"]
    if picture:
        from gfm_ase.plan_picture import plan_figure
        from gfm_ase.plots import save_figure

        save_figure(plan_figure(planned), folder / "plan.png")
        files.append("plan.png")
    if (folder / "costs.json").exists():
        files.append("costs.json")
    announce(console, f"In {folder}: {', '.join(files)}")
