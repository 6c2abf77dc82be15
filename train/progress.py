"""What a person sees of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Reporter:
    """Shows progress on a console, or nothing at all without one.

    Args:
        console: where to show it.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(quiet=True)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._atoms, self._since, self._speed = 0, 0.0, 0.0

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False)

    def warn(self, text: str) -> None:
        """A line that stays, about something that should not be; it may come from another thread."""
        self.say(f"[yellow]{escape(text)}[/yellow]")

    @contextmanager
    def reading(self) -> Iterator[Callable[[str, int, int | None], None]]:
        """Bars for reading and making graphs: call the result with what is done, how many, of how many."""
        tasks: dict[str, TaskID] = {}
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"))
        with Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True) as progress:

            def show(what: str, done: int, total: int | None) -> None:
                if what not in tasks:
                    tasks[what] = progress.add_task(what, total=None)
                progress.update(tasks[what], completed=done, total=total)

            yield show

    @contextmanager
    def compiling(self, compiles: bool) -> Iterator[None]:
        """A spinner while a run is compiled."""
        if not compiles:
            yield
            return
        columns = (SpinnerColumn(), TextColumn("compiling, minutes the first time on a machine"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            progress.add_task("", total=None)
            yield

    def not_compiled(self, reason: str) -> None:
        """A backbone refused to be compiled: the run goes on without."""
        self.say(f"[yellow]not compiled, which is slower: {escape(reason)}[/yellow]")

    @contextmanager
    def training(self) -> Iterator[None]:
        """The bar of a whole run: epochs, speed, time left."""
        columns = (
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[epoch]}"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            self._progress = progress
            self._task = progress.add_task("training", total=1.0, epoch="", speed="starting")
            self._since = time.perf_counter()
            yield
        self._progress = self._task = None

    def stepped(self, atoms: int, epochs: float, done: float) -> None:
        """A batch of so many atoms was learnt.

        Args:
            atoms: in the batch.
            epochs: that are over.
            done: how much of the run is, 0 to 1.
        """
        self._atoms += atoms
        if self._progress is None or self._task is None:
            return
        now = time.perf_counter()
        if now - self._since > 1.0:
            self._speed = self._atoms / (now - self._since)
            self._atoms, self._since = 0, now
        speed = f"{self._speed:,.0f} atoms/s" if self._speed else "starting"
        self._progress.update(self._task, completed=done, epoch=f"epoch {epochs:.1f}", speed=speed)

    def validated(self, row: dict[str, Any]) -> None:
        """One line for a validation."""
        self._atoms, self._since = 0, time.perf_counter()  # validation is not the speed of training
        loss = "as it begins" if row["train_loss"] is None else f"loss {row['train_loss']:.4f}"
        parts = [f"epoch {row['epoch']:>4}  {loss}"]
        if row["valid_loss"] is not None:
            parts[0] += f" valid {row['valid_loss']:.4f}"
        for name, errors in row["valid"].items():
            shown: list[str] = []
            if "energy_mae_eV_per_atom" in errors:
                shown.append(f"{1e3 * errors['energy_mae_eV_per_atom']:.1f} meV/atom")
            if "forces_mae_eV_per_A" in errors:
                shown.append(f"{1e3 * errors['forces_mae_eV_per_A']:.0f} meV/Å")
            if "stress_mae_eV_per_A3" in errors:
                shown.append(f"{160.21766 * errors['stress_mae_eV_per_A3']:.2f} GPa")
            shown += _outputs(errors)
            parts += [f"{name}: {', '.join(shown)}"] if shown else []
        best = "  [green]*[/green]" if row["best_epoch"] == row["epoch"] else ""
        self.say("  |  ".join(parts) + best)


def _outputs(errors: dict[str, float]) -> list[str]:
    """Errors of outputs beyond energy, forces and stress."""
    shown = []
    for key, value in errors.items():
        name, found, unit = key.partition("_mae_")
        usual = name in {"energy", "forces", "stress", "total_energy"} or name.startswith("trivial_")
        if found and not usual:
            shown.append(f"{name} {value:.3g} {unit.replace('_per_', '/')}")
    return shown
