"""The training loop: `train(config)` goes from data to checkpoint."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from train.config import RunConfig, dump_config
from train.data import Dataset, load_datasets
from train.export import environment
from train.group import ALONE, Group
from train.guard import TrainingError
from train.journal import write_json
from train.progress import Reporter
from train.result import TrainingResult
from train.run import MODEL, STATE, Run
from train.state import Position, Tally
from train.stopping import Asked, JobEnd, end_when_terminated, stop_signals
from train.warm_up import warm_up

WAITED = 0.1
"""Share of empty batches from which on it is said."""

STOPPED = ("interrupted", "terminated")
"""Reasons to end that a run is to be resumed after, in the order of `train.stopping.Asked`."""

UNFINISHED = (*STOPPED, "paused")
"""Reasons to end that leave a state and no checkpoint."""

NO_JOB = JobEnd(None)


def train(
    config: RunConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    until_epoch: int | None = None,
    group: Group = ALONE,
) -> TrainingResult:
    """Train a potential and leave its checkpoint in ``config.output``.

    Beside it: `config.json` and `environment.json` (what made it), `journal.jsonl` and `journal.csv` (how it went),
    `errors.json` (on the test splits), `state.safetensors` (to resume from). An interrupt, a termination signal or the
    near end of the job saves the state first.

    Args:
        config: resolved settings, see `train.config.load_config`.
        resume: go on from the saved state, to the same numbers as if the run had never stopped.
        overwrite: begin anew in a folder that holds a run.
        console: where to show progress; none is silent.
        until_epoch: pause after so many epochs, the state saved; the schedule stays that of all of them.
        group: the processes that train together (`train.group.joined`); the first one writes and speaks.

    Raises:
        ValueError: bad data or settings; the folder holds a run and neither `resume` nor `overwrite` is given; a step
            that would not be finite.
        SavingError: state or checkpoint could not be written.
    """
    if until_epoch is not None and until_epoch < 1:
        raise ValueError(f"until_epoch is {until_epoch}; a run can pause after 1 epoch or more")
    job = JobEnd(config.stop.job_end_minutes)
    reporter = Reporter(console if group.first else None)
    run = prepared(config, reporter, group, resume=resume, overwrite=overwrite)
    result = carry_out(run, job, until_epoch)
    for dataset in run.datasets:
        dataset.close()
    return result


def prepared(config: RunConfig, reporter: Reporter, group: Group, *, resume: bool, overwrite: bool) -> Run:
    """A run in its folder, up to its next step; as `train`.

    Raises:
        ValueError: as `train`.
    """
    check_folder(config.output, resume=resume, overwrite=overwrite)
    with end_when_terminated():
        with reporter.reading() as progress:
            datasets = load_datasets(config, progress, group)
        describe_data(datasets, reporter, charge_and_spin=config.potential.charge_and_spin)
        run = Run(config, datasets, reporter, group)
        if resume:
            run.resume()
        group.wait()
        if not resume and group.first:
            make_folder(config.output)  # only now: a mistake in the data must not cost the run that was there
        run.layout.check_share()
        tell_idle(run)
        with reporter.compiling(config.compile), group.one_of_a_host_first():
            warm_up(run)
    return run


def tell_idle(run: Run) -> None:
    """Say so where processes will wait for others for long."""
    if (idle := run.layout.idle()) > WAITED:
        run.reporter.say(
            f"[yellow]{idle:.0%} of the batches of an epoch are empty, for data sets are through at different times;"
            " raise batch.per_step or change dataset.repeat[/yellow]"
        )


def carry_out(run: Run, job: JobEnd = NO_JOB, until_epoch: int | None = None) -> TrainingResult:
    """From where a run stands to its end: epochs, errors, checkpoint; its folder is there.

    Raises:
        TrainingError: a step that would not be finite; the state before it is saved.
        SavingError: the state at the end could not be written; the checkpoint is there if the end was not a stop.
    """
    with closing(run.meter):
        return _carry_out(run, job, until_epoch)


def _carry_out(run: Run, job: JobEnd, until_epoch: int | None) -> TrainingResult:
    config = run.config
    if run.group.first:
        write_json(config.output / "config.json", dump_config(config))
        write_json(config.output / "environment.json", environment())
    if run.saver.empty:
        run.save()  # whatever happens from here on can be resumed; and a disk without room for it is known now
        run.saver.check()
    try:
        with run.reporter.training(), stop_signals() as signalled:
            reason = loop(run, lambda: Asked.TERMINATED if job.near() else signalled(), until_epoch)
    except TrainingError:
        run.save()  # the step was not taken
        run.saver.check()
        raise
    finally:
        run.saver.wait()
        if run.journal:
            run.journal.close()
    result = TrainingResult(None, {}, run.position, reason) if reason in UNFINISHED else run.finish(reason)
    run.saver.check()  # only now: a checkpoint may find room where a state does not
    return result


def loop(run: Run, asked: Callable[[], int], until_epoch: int | None = None) -> str:
    """Epochs until one of the reasons to end; each validated, the state saved in between."""
    stop, log, position = run.config.stop, run.config.log, run.position
    last = min(stop.epochs, until_epoch or stop.epochs)
    position.compiling, _ = run.group.agree(position.compiling, Asked.NO)
    clock = Clock(position.seconds)

    def pause() -> str | None:
        position.seconds, stopped = run.group.agree(clock.total(), asked())
        if position.seconds - clock.saved > 60 * log.checkpoint_minutes:  # the time that all know: all save or none
            run.save(meanwhile=True)
            clock.saved = position.seconds
        if stopped:
            return STOPPED[stopped - 1]
        return "max_minutes" if stop.max_minutes and position.seconds > 60 * stop.max_minutes else None

    if run.config.fine_tune is not None and not position.steps:
        run.record(run.validate(), 0.0)
    while position.epoch < last and not out_of_patience(run):
        began, had = time.perf_counter(), position.tally.atoms
        if reason := run.train_epoch(pause):
            run.save()
            if reason == "max_minutes":
                # not in the state: a resumed run is judged where it would have been without the stop
                run.record(run.validate(), speed(position, had, began))
            return reason
        if position.epoch + 1 == stop.epochs or (position.epoch + 1) % log.validate_every == 0:
            run.record(run.validate(), speed(position, had, began))
        position.epoch, position.batches, position.tally = position.epoch + 1, [], Tally()
    run.save()
    return why_over(run)


def speed(position: Position, had: int, began: float) -> float:
    """Atoms per second of the part of an epoch that this session has trained, with its validation.

    Args:
        position: of the run.
        had: atoms of the epoch before it.
        began: when, by the clock of processes.
    """
    return (position.tally.atoms - had) / max(time.perf_counter() - began, 1e-9)


def out_of_patience(run: Run) -> bool:
    """Whether validations have not become better for as long as a run waits."""
    patience = run.config.stop.patience
    return patience is not None and run.position.worse >= patience


def why_over(run: Run) -> str:
    """The reason to end of a run that no signal and no clock has ended."""
    if run.position.epoch >= run.config.stop.epochs:
        return "epochs"
    return "patience" if out_of_patience(run) else "paused"


class Clock:
    """Wall time of all sessions of a run.

    Args:
        before: seconds of earlier sessions.

    Attributes:
        saved: seconds at which the state was saved.
    """

    def __init__(self, before: float) -> None:
        self._start, self._before, self.saved = time.perf_counter(), before, before

    def total(self) -> float:
        """Seconds, all sessions together."""
        return self._before + time.perf_counter() - self._start


def check_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse to write over another run."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output = {folder} is a file; it must be a folder")
    holds_run = any((folder / name).exists() for name in (STATE, MODEL, "journal.jsonl"))
    if holds_run and not (resume or overwrite):
        raise ValueError(f"{folder} holds a run already: --resume to go on with it, --overwrite to begin anew")


def where_it_stands(folder: Path, group: Group = ALONE) -> tuple[bool, bool]:
    """`resume` and `overwrite` for a run that is to go on if there is a state, and to begin where there is none.

    What was killed before its first state is begun anew; a checkpoint without a state is somebody's, and is kept.
    """
    there, _ = group.agree(float((folder / STATE).exists()), Asked.NO)  # as the first sees it: file systems are slow
    return bool(there), not there and not (folder / MODEL).exists()


def make_folder(folder: Path) -> None:
    """The folder of a new run, without what an earlier one left there."""
    for name in (STATE, MODEL, "journal.jsonl", "journal.csv", "errors.json"):
        (folder / name).unlink(missing_ok=True)
    if (folder / "tensorboard").exists():
        shutil.rmtree(folder / "tensorboard")
    folder.mkdir(parents=True, exist_ok=True)


def describe_data(datasets: list[Dataset], reporter: Reporter, *, charge_and_spin: bool) -> None:
    """A line for each data set, and what is odd about it."""
    for dataset in datasets:
        counts = ", ".join(f"{len(getattr(dataset, split))} {split}" for split in ("train", "valid", "test"))
        reporter.say(f"[bold]{dataset.name}[/bold]: {counts}; {' '.join(dataset.elements('train'))}")
        charged = dataset.summary.charged
        if charged and not charge_and_spin:
            reporter.say(
                f"  [yellow]{charged} training structures have charge or spin in info, which this potential does not"
                " see: potential.charge_and_spin is false[/yellow]"
            )
        if not dataset.of_energies:
            reporter.say(f"  no energies: its head learns {', '.join(dataset.quantities)} alone")
        for warning in dataset.warnings:
            reporter.say(f"  [yellow]{escape(warning)}[/yellow]")  # it quotes paths and numbers in brackets
