"""`python -m examples.demo`: build data, train, simulate, relax, screen, and write one page on all of it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:  # what needs numpy or torch is imported once the number of threads is settled
    from examples.demo.report import Story
    from examples.demo.settings import DemoSettings

MARK = ".made-by-demo"
REPORT = "report.html"


def demo(
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder to fill; what an earlier demo left is lost.")
    ] = Path("demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A minute, too short to learn from: nothing is demanded.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the data, the weights and the order of the batches.")] = 0,
) -> None:
    """Go the whole way once: two data sets, one potential, dynamics, relaxation, screening, and a page on all of it.

    Takes a few minutes on two cores. Ends with exit code 1 when the potential does not beat the trivial predictors by
    the factors that the page states, and with 2 when something could not be done at all.
    """
    from examples.demo.settings import FULL, QUICK

    raise typer.Exit(run(output, QUICK if quick else FULL, Console(), seed=seed))


def run(output: Path, settings: DemoSettings, console: Console, *, seed: int = 0) -> int:
    """The demo; returns the exit code.

    Raises:
        ValueError: the folder holds something else, or what is needed is not installed.
    """
    check_extras()
    prepare(output)
    story = tell(output, settings, console, seed)
    return conclude(output / REPORT, story, console)


def check_extras() -> None:
    """Before the minutes that come first."""
    from examples.demo.structures import MOLECULES_GFN2, calculator
    from gfm_ase.plots import new_figure

    calculator(MOLECULES_GFN2.name)
    new_figure(1.0, 1.0)


def prepare(output: Path) -> None:
    """An empty folder that bears the demo's mark.

    Raises:
        ValueError: it holds something that no demo has made.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; name a folder for the demo to fill.")
    if output.is_dir() and any(output.iterdir()):
        if not (output / MARK).exists():
            raise ValueError(f"{output} holds files that no demo has made; name an empty folder or a new one.")
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    (output / MARK).touch()


class Watch:
    """Says what begins, and remembers how long each step took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step of the demo."""
        self.console.rule(f"[bold]{len(self.steps) + 1}. {name}", align="left")
        began = time.perf_counter()
        yield
        self.steps.append((name, time.perf_counter() - began))


def tell(output: Path, settings: DemoSettings, console: Console, seed: int) -> Story:
    """All steps up to the page, one after the other."""
    from examples.demo.alloys import relax_metals, screen_alloys
    from examples.demo.datasets import build
    from examples.demo.dynamics import simulate
    from examples.demo.judgement import judge
    from examples.demo.report import Story
    from examples.demo.training import look_at, train_both

    watch = Watch(console)
    with watch.step("data"):
        data = build(output / "data", settings.sizes, seed=seed, processes=min(2, os.cpu_count() or 1), console=console)
    with watch.step("training"):
        result = train_both(output, settings, console, seed=seed)
        trained = look_at(output, result, data, console)
    with watch.step("molecular dynamics"):
        simulations = simulate(trained.checkpoint, output / "md", settings, console)
    with watch.step("relaxation"):
        lattices = relax_metals(trained.checkpoint, settings, console)
    with watch.step("screening"):
        candidates = screen_alloys(trained.checkpoint, output / "screening", lattices, settings, console)
    errors = {name: predictions.errors() for name, predictions in trained.predictions.items()}
    return Story(settings, watch.steps, data, trained, judge(errors), simulations, lattices, candidates)


def conclude(report: Path, story: Story, console: Console) -> int:
    """Write the page, say what it says, and turn it into an exit code."""
    from examples.demo.judgement import shortfalls
    from examples.demo.report import write_report
    from gfm_ase.commands.announce import announce
    from gfm_ase.commands.errors_table import errors_table

    write_report(report, story)
    errors = {name: predictions.errors() for name, predictions in story.trained.predictions.items()}
    console.print(errors_table(errors, "Errors on structures held back from training"))
    announce(console, f"Checkpoint: {story.trained.checkpoint}", f"Report:     {report.absolute()}")
    wrong = shortfalls(story.verdicts) if story.settings.enforced else []
    for sentence in wrong:
        console.print(Text.assemble(("failed: ", "bold red"), (sentence, "red")), soft_wrap=True)
    if wrong and story.trained.result.reason == "max_minutes":
        announce(
            console, f"The training was cut short after {story.settings.max_minutes:g} minutes: is the machine busy?"
        )
    return 1 if wrong else 0


def main() -> None:
    """The command line; what cannot be done is one red sentence and exit code 2."""
    # A second thread gains nothing on matrices as small as these, and where the cores have other work too, threads that
    # wait for one another make the training and the relaxation of cells ten times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    app.command()(demo)
    try:
        app(prog_name="python -m examples.demo")
    except (ValueError, OSError) as error:
        message = Text.assemble(("error: ", "bold red"), str(error))
        Console(stderr=True).print(message, soft_wrap=True, highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
