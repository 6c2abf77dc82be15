"""The training loop: `train(config)` goes from data to checkpoint."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from train.config import RunConfig, dump_config
from train.data import Dataset, load_datasets
from train.export import environment
from train.journal import write_json
from train.progress import Reporter
from train.run import STATE, Run, TrainingResult
from train.state import Tally


def train(
    config: RunConfig, *, resume: bool = False, overwrite: bool = False, console: Console | None = None
) -> TrainingResult:
    """Train a potential and leave its checkpoint in ``config.output``.

    Beside it: `config.json` and `environment.json` (what made it), `journal.jsonl` and `journal.csv` (how it went),
    `errors.json` (on the test splits), `state.safetensors` (to resume from). An interrupt or a termination signal
    saves the state first.

    Args:
        config: resolved settings, see `train.config.load_config`.
        resume: go on from the saved state, to the same numbers as if the run had never stopped.
        overwrite: begin anew in a folder that holds a run.
        console: where to show progress; none is silent.

    Raises:
        ValueError: bad data or settings; the folder holds a run and neither `resume` nor `overwrite` is given; a step
            that would not be finite.
    """
    reporter = Reporter(console)
    prepare_folder(config.output, resume=resume, overwrite=overwrite)
    with reporter.reading() as progress:
        datasets = load_datasets(config, progress)
    describe_data(datasets, reporter)
    run = Run(config, datasets, reporter)
    if resume:
        run.resume()
    write_json(config.output / "config.json", dump_config(config))
    write_json(config.output / "environment.json", environment())
    try:
        with reporter.training(config.stop.epochs, run.position.epoch), stop_signals() as asked:
            reason = loop(run, asked)
    finally:
        run.journal.close()
    if reason == "interrupted":
        return TrainingResult(None, {}, run.position, reason)
    return run.finish(reason)


def loop(run: Run, asked: Callable[[], bool]) -> str:
    """Epochs until one of the reasons to end; each validated, the state saved in between."""
    stop, log, position = run.config.stop, run.config.log, run.position
    clock = Clock(position.seconds)
    reason = "epochs"

    def pause() -> bool:
        position.seconds = clock.total()
        if clock.since_saved() > 60 * log.checkpoint_minutes:
            run.save()
            clock.saved()
        return asked() or out_of_time()

    def out_of_time() -> bool:
        return stop.max_minutes is not None and position.seconds > 60 * stop.max_minutes

    while position.epoch < stop.epochs:
        began = time.perf_counter()
        if not run.train_epoch(pause):
            run.save()
            if asked():
                return "interrupted"
            reason = "max_minutes"
        position.seconds = clock.total()
        finished = position.epoch + 1 == stop.epochs or reason != "epochs"
        if finished or (position.epoch + 1) % log.validate_every == 0:
            run.record(run.validate(), time.perf_counter() - began)
        if reason != "epochs":
            break
        position.epoch, position.batch, position.tally = position.epoch + 1, 0, Tally()
        if stop.patience is not None and position.worse >= stop.patience:
            reason = "patience"
            break
    run.save()
    return reason


class Clock:
    """Wall time of all sessions of a run, and time since the state was saved."""

    def __init__(self, before: float) -> None:
        self._start = self._saved = time.perf_counter()
        self._before = before

    def total(self) -> float:
        """Seconds, all sessions together."""
        return self._before + time.perf_counter() - self._start

    def since_saved(self) -> float:
        """Seconds since `saved` was called."""
        return time.perf_counter() - self._saved

    def saved(self) -> None:
        """The state was saved now."""
        self._saved = time.perf_counter()


def prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Make the run's folder, or refuse to write over another run."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output = {folder} is a file; it must be a folder")
    holds_run = (folder / STATE).exists() or (folder / "journal.jsonl").exists()
    if holds_run and not resume:
        if not overwrite:
            raise ValueError(f"{folder} holds a run already: --resume to go on with it, --overwrite to begin anew")
        for name in (STATE, "journal.jsonl", "journal.csv", "errors.json", "model.safetensors"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def describe_data(datasets: list[Dataset], reporter: Reporter) -> None:
    """A line for each data set, and what is odd about it."""
    for dataset in datasets:
        counts = ", ".join(f"{len(getattr(dataset, split))} {split}" for split in ("train", "valid", "test"))
        reporter.say(f"[bold]{dataset.name}[/bold]: {counts}; {' '.join(dataset.elements('train'))}")
        for warning in dataset.warnings:
            reporter.say(f"  [yellow]{warning}[/yellow]")


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """While inside, an interrupt or a termination is remembered and asked for; the second one ends at once."""
    received: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    handled = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, remember) for number in handled}
    except ValueError:  # not in the main thread: nobody can signal it there
        before = {}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
