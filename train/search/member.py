"""One session of one trial, in a process of its own: `python -m train.search.member FOLDER TOKEN UNTIL_EPOCH`.

The folder holds `run.json`; there appear the files of a run (`train.loop`) and at the end `outcome.json`. Several
processes, told of each other as by torchrun, are one trial. Whatever kills the process, what is there stays usable.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from train.comparison_member import end_with_parent, peak_memory, trained_weights
from train.comparison_speed import energy_forces_speed
from train.config import load_config
from train.group import Group, joined
from train.journal import Row, write_json
from train.loop import carry_out, prepared, where_it_stands
from train.progress import Reporter
from train.run import Run
from train.search.config import ConstraintsConfig
from train.search.files import ORDER, OUTCOME, RUN, SPEED
from train.search.lease import ALIVE, BEAT_SECONDS, token_of
from train.search.rows import Outcome
from train.search.scores import rows_of
from train.stopping import JobEnd, TerminatedError

MEASURED_SECONDS = 2.0
MEASURED_STRUCTURES = 64


class ViolatedError(ValueError):
    """A constraint of the search is broken."""


class Watching(Reporter):
    """Holds a training to the constraints of the search.

    Args:
        constraints: of the search.
        console: for the log of the trial.
    """

    def __init__(self, constraints: ConstraintsConfig, console: Console | None = None) -> None:
        super().__init__(console)
        self.constraints = constraints
        self.run: Run | None = None
        self.fastest = 0.0
        self._epochs = 0

    def go_on(self, rows: Sequence[Row]) -> None:
        """Know the epochs of earlier sessions, as the journal has them."""
        speeds = [row["atoms_per_second"] for row in rows if row["epoch"]]
        self._epochs, self.fastest = len(speeds), max(speeds, default=0.0)

    def check_memory(self, run: Run) -> None:
        """Raise ViolatedError where this process has taken too much."""
        most, taken = self.constraints.max_memory_MB, peak_memory(run.device)
        if most is not None and taken > most:
            raise ViolatedError(f"{taken:,.0f} MB of memory are more than constraints.max_memory_MB = {most:,.0f}")

    def validated(self, row: dict[str, Any]) -> None:
        """See `Reporter`."""
        super().validated(row)
        if self.run is None or not self.run.group.first or not row["epoch"]:
            return
        self._epochs += 1
        self.fastest = max(self.fastest, row["atoms_per_second"])
        least = self.constraints.min_training_atoms_per_s
        if least is not None and self._epochs > 1 and self.fastest < least:
            raise ViolatedError(
                f"{self.fastest:,.0f} atoms/s in training are fewer than constraints.min_training_atoms_per_s ="
                f" {least:,.0f}"
            )
        self.check_memory(self.run)


def inference_speed(run: Run, atoms: int) -> float:
    """Atoms per second of energy and forces of validation structures."""
    each = max(1, MEASURED_STRUCTURES // len(run.datasets))
    measured = [one for dataset in run.datasets for one in dataset.valid[:each]]
    return energy_forces_speed(run, measured, MEASURED_SECONDS, atoms)


def trial_session(folder: Path, order: dict[str, Any], until_epoch: int | None, group: Group) -> Outcome:
    """Train from where the trial stands to its end, or to the epoch at which it is to be judged.

    Raises:
        ViolatedError: a constraint is broken.
        ValueError: as `train.loop.train`.
    """
    config = load_config(folder / RUN).model_copy(update={"output": folder})
    constraints = ConstraintsConfig.model_validate(order["constraints"])
    reporter = Watching(constraints, Console(file=sys.stdout, width=120) if group.first else None)
    try:
        job = JobEnd(config.stop.job_end_minutes)
    except ValueError as error:  # it was not so near when the worker began this
        raise TerminatedError(str(error)) from None
    resume, overwrite = where_it_stands(folder, group)
    run = prepared(config, reporter, group, resume=resume, overwrite=overwrite)
    reporter.run = run
    reporter.go_on(rows_of(folder))
    speed = inference_speed(run, order["inference_atoms"]) if group.first else 0.0
    if group.first:
        least = constraints.min_inference_atoms_per_s
        if least is not None and speed < least:
            raise ViolatedError(
                f"{speed:,.0f} atoms/s of energy and forces are fewer than constraints.min_inference_atoms_per_s ="
                f" {least:,.0f}"
            )
        reporter.check_memory(run)
        write_json(folder / SPEED, {"inference_atoms_per_s": speed})
    result = carry_out(run, job, until_epoch)
    if group.first and result.checkpoint is not None:
        speed = inference_speed(run, order["inference_atoms"])
    for dataset in run.datasets:
        dataset.close()
    return Outcome(
        kind="finished" if result.checkpoint else "paused" if result.reason == "paused" else "interrupted",
        reason=result.reason,
        parameters=trained_weights(run.potential),
        inference_atoms_per_s=speed,
        training_atoms_per_s=reporter.fastest,
        peak_memory_MB=peak_memory(run.device),
    )


def show_life(folder: Path, token: str) -> None:
    """Touch a file while this process lives; end it at once where the trial has become another worker's."""

    def beat() -> None:
        while True:
            with contextlib.suppress(OSError):  # a disk that does not answer for a while
                if token_of(folder) not in {token, None}:
                    os._exit(1)  # whoever has taken the trial over writes here now
                (folder / ALIVE).touch()
            time.sleep(BEAT_SECONDS)

    threading.Thread(target=beat, daemon=True).start()


def main() -> int:
    """Carry out what the arguments say; its exit code."""
    folder, token, until = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker passes it on once, as a termination
    show_life(folder, token)
    first = os.environ.get("RANK", "0") == "0"
    try:
        order = json.loads((folder / ORDER).read_text(encoding="utf-8"))
        config = load_config(folder / RUN)
        with joined(config.device, timedelta(minutes=config.stop.unanswered_minutes)) as group:
            outcome = trial_session(folder, order, until or None, group)
            if first:
                write_json(folder / OUTCOME, outcome.model_dump(mode="json"))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log of the trial
        if first and not (folder / OUTCOME).exists():
            kind = "violates" if isinstance(error, ViolatedError) else "failed"
            left = Outcome(kind=kind, reason=str(error), exit_code=getattr(error, "exit_code", 2))
            write_json(folder / OUTCOME, left.model_dump(mode="json"))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
