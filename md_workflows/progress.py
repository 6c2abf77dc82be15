"""Progress: a callback that is silent by default, and a rich bar for those who want to see it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

ProgressCallback = Callable[[int, int | None], None]
"""Called with the number done and the total, or None when the total is not known beforehand."""


class RateColumn(ProgressColumn):
    """How many units are done each second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """The speed over the last seconds, or nothing before there is one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self.unit}/s", style="progress.data.speed")


@contextmanager
def progress_bar(description: str, unit: str, console: Console | None = None) -> Iterator[ProgressCallback]:
    """Show a bar with `unit`/s and the time left; yields the callback to hand to run_md, relax or screen."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=None)
        started = False

        def update(done: int, total: int | None) -> None:
            nonlocal started
            if not started:  # a restarted run begins at its saved count: that is no speed
                bar.reset(task, total=total, completed=done)
                started = True
            bar.update(task, completed=done, total=total)

        yield update
