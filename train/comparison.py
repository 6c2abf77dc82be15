"""Many backbones under one budget: each in a process of its own, one after the other."""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from potentials.backbones import BACKBONES
from potentials.compiled import check_compiler
from potentials.devices import choose_device
from train.comparison_member import FAILURE, INTERRUPTED, MEMBER, PROGRESS, RESULT, Member
from train.comparison_rows import Row, write_tables
from train.config import RunConfig, dump_config
from train.config_errors import sentences
from train.data import load_datasets
from train.export import environment
from train.journal import write_json
from train.run import STATE
from train.state import first_difference
from train.stopping import stop_signals

LOG, LOCK = "log.txt", ".lock"
POLL_SECONDS = 0.2
ANY_EPOCHS = 10**9
"""More than there is time for: the minutes end the training."""


class Watcher:
    """Is told how a comparison goes; this one keeps it to itself."""

    def reading(self, what: str, done: int, total: int | None) -> None:
        """So much of the data is read."""

    def training(self, name: str, state: dict[str, Any]) -> None:
        """Several times a second: how far a backbone is (phase, epochs, done)."""

    def finished(self, row: Row) -> None:
        """A row is there, also of an earlier session."""


@dataclass(frozen=True)
class Comparison:
    """What is to be compared.

    Attributes:
        config: of the run; its backbone gives the settings that others share, where they have them.
        backbones: names, in the order in which they are trained.
        folder: for tables and members.
        minutes: wall time of each training; without, the epochs and minutes of the run file.
        settings: more settings of single backbones, by name.
    """

    config: RunConfig
    backbones: tuple[str, ...]
    folder: Path
    minutes: float | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


def parse_backbones(text: str) -> tuple[str, ...]:
    """The backbones meant by "all" or by names with commas between.

    Raises:
        ValueError: an unknown name; the nearest known one is named.
    """
    if text.strip() == "all":
        return tuple(BACKBONES)
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in BACKBONES:
            near = difflib.get_close_matches(name, BACKBONES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"there is no backbone {name!r}{hint} (all, or some of {', '.join(BACKBONES)})")
    if not names:
        raise ValueError(f"no backbone is named; say all, or some of {', '.join(BACKBONES)}")
    return tuple(dict.fromkeys(names))


def member_of(comparison: Comparison, name: str, data: dict[str, dict[str, str]]) -> Member:
    """The run of one backbone: what the run file sets for its own, as far as this one has it.

    Raises:
        ValueError: settings that this backbone does not allow.
    """
    own = comparison.config.potential.backbone
    shared = {key: value for key, value in own.model_dump(exclude_unset=True).items() if key != "name"}
    model, _ = BACKBONES[name]
    left_out = sorted(shared.keys() - model.model_fields.keys())
    values = {key: value for key, value in shared.items() if key not in left_out}
    values |= {"name": name, **comparison.settings.get(name, {})}
    try:
        backbone = model.model_validate(values)
    except ValidationError as error:
        raise ValueError("; ".join(sentences(error, model, values))) from None
    potential = comparison.config.potential.model_copy(update={"backbone": backbone})
    update: dict[str, Any] = {"potential": potential, "output": comparison.folder / name}
    if comparison.minutes is not None:
        update["stop"] = comparison.config.stop.model_copy(
            update={"epochs": ANY_EPOCHS, "max_minutes": comparison.minutes}
        )
    notes = [f"{key} of the run file is no setting of {name}, and was left out" for key in left_out]
    return Member(config=comparison.config.model_copy(update=update), data=data, notes=notes)


def compare(
    comparison: Comparison,
    *,
    resume: bool = False,
    watcher: Watcher | None = None,
) -> tuple[list[Row], bool]:
    """Train every backbone that has no result yet; tables are written after each.

    Args:
        comparison: what to do.
        resume: keep the results that the folder holds, and go on with what was interrupted.
        watcher: shows how it goes.

    Returns:
        The rows, and whether all was done (false after an interrupt, which waits for the running one to save itself).

    Raises:
        ValueError: mistakes in the data; a run file that fine-tunes; the folder holds a comparison and `resume` is not
            given, or another one, or is in use.
    """
    folder, watcher = comparison.folder, watcher or Watcher()
    if comparison.config.fine_tune is not None:
        raise ValueError("backbones are compared from random weights, and [fine_tune] begins from one; take it out")
    if not resume and any(folder.glob(f"*/{MEMBER}")):
        raise ValueError(f"{folder} holds a comparison already: --resume to go on with it, or name another --output")
    if comparison.config.compile:
        check_compiler(choose_device(comparison.config.device))
    data = {one.name: dict(one.fingerprint) for one in load_datasets(comparison.config, watcher.reading)}
    rows = {name: Row(backbone=name, status="waiting") for name in comparison.backbones}
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as lock, stop_signals() as asked:
        for name in comparison.backbones:
            row = _row_of(comparison, name, data, lambda member: _train(member, lock, asked, watcher))
            rows[name] = row
            write_tables(folder, list(rows.values()), about(comparison), heading(comparison))
            if row.status == "waiting":
                return list(rows.values()), False
            watcher.finished(row)
    return list(rows.values()), True


def _row_of(comparison: Comparison, name: str, data: dict[str, dict[str, str]], train: Callable[[Member], Row]) -> Row:
    """The result that is there already, or the one of a training now."""
    try:
        member = member_of(comparison, name, data)
    except ValueError as error:
        return Row(backbone=name, status="failed", reason=str(error))
    folder = member.config.output
    if (folder / MEMBER).exists():
        before = json.loads((folder / MEMBER).read_text(encoding="utf-8"))
        difference = first_difference(before, member.model_dump(mode="json"))
        if difference is not None:
            key, was, now = difference
            raise ValueError(
                f"the comparison in {comparison.folder} was begun with {key} = {was!r} for {name} and is to go on with"
                f" {now!r}; put it back, or name another --output"
            )
    if (folder / RESULT).exists():
        return Row.model_validate_json((folder / RESULT).read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MEMBER, member.model_dump(mode="json"))
    return train(member)


def _train(member: Member, lock: int, asked: Callable[[], int], watcher: Watcher) -> Row:
    """One backbone in a process of its own, which ends with this one; waiting where it was interrupted."""
    folder, name = member.config.output, member.config.potential.backbone.name
    if not (folder / STATE).exists():
        (folder / PROGRESS).unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "train.comparison_member", str(folder)]
    with (folder / LOG).open("ab") as log:
        # a session of its own: an interrupt at the terminal reaches this process alone, which passes it on once
        process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=(lock,), start_new_session=True
        )
        passed_on = False
        try:
            while process.poll() is None:
                watcher.training(name, _progress(folder))
                if asked() and not passed_on:
                    process.send_signal(signal.SIGTERM)
                    passed_on = True
                _wait(process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
    if process.returncode == 0:
        return Row.model_validate_json((folder / RESULT).read_text(encoding="utf-8"))
    if process.returncode == INTERRUPTED or passed_on:
        return Row(backbone=name, status="waiting")
    return Row(backbone=name, status="failed", reason=_why(folder, process.returncode))


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return


def _progress(folder: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"phase": "starting", "epochs": 0.0, "done": 0.0}
    return state


def _why(folder: Path, code: int) -> str:
    """What a process that failed says of itself, or what is left of it."""
    if (folder / FAILURE).exists():
        return str(json.loads((folder / FAILURE).read_text(encoding="utf-8"))["reason"])
    if code < 0:
        killed = " (out of memory, perhaps)" if code == -signal.SIGKILL else ""
        return f"ended by {signal.Signals(-code).name}{killed}; see {folder / LOG}"
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{' '.join(lines[-1].split())[:300] if lines else f'exit code {code}'}; see {folder / LOG}"


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold the folder; so does a process that is handed the number, even when this one has died."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ValueError(f"{folder} is in use by another comparison; wait for it, or name another --output") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def about(comparison: Comparison) -> dict[str, Any]:
    """What made the numbers."""
    return {
        "config": dump_config(comparison.config),
        "minutes": comparison.minutes,
        "settings": comparison.settings,
        "environment": environment(),
    }


def heading(comparison: Comparison) -> list[str]:
    """What stands above the table."""
    stop = comparison.config.stop
    if comparison.minutes is not None:
        budget = f"{comparison.minutes:g} minutes of training each"
    elif stop.max_minutes is not None:
        budget = f"{stop.epochs} epochs each, fewer where they do not fit into {stop.max_minutes:g} minutes"
    else:
        budget = f"{stop.epochs} epochs each"
    return [
        f"{', '.join(dataset.name for dataset in comparison.config.dataset)}: {budget}, compilation not counted; the"
        " learning rate comes down to its end within the budget.",
        'Mean absolute errors, "validation / test". Weights are chosen, and rows are ordered, by the validation loss.',
    ]
