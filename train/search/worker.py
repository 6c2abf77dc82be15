"""A worker of a search: takes trials one after the other, and sees each to its end."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from train.group import LostError
from train.journal import write_json
from train.search.curves import StoppingRule
from train.search.files import LOG, ORDER, OUTCOME
from train.search.lease import Lease, Watch
from train.search.processes import Launcher, Running, Session
from train.search.rows import Outcome, TrialRow
from train.search.scores import rows_of
from train.search.study import Study, read_row, trial_folder, up_to_date, write_row
from train.stopping import TO_BE_RESUMED, JobEnd

POLL_SECONDS, IDLE_SECONDS = 0.2, 1.0


@dataclass(frozen=True)
class Held:
    """A trial that is this worker's.

    Attributes:
        folder: of it.
        lease: by which it is held.
        judged: whether the rung that it stands at, if it does, was decided about.
    """

    folder: Path
    lease: Lease
    judged: bool = False


@dataclass(frozen=True)
class Decided:
    """What becomes of a trial that was validated."""

    state: Literal["running", "waiting", "paused", "stopped"]
    reason: str = ""


class Worker:
    """Works on a study.

    Args:
        study: that it takes part in.
        rule: which stops trials early.
        launcher: starts sessions of trials.
        asked: whether to stop, see `train.stopping.stop_signals`.
        tick: called several times a second.
    """

    def __init__(
        self,
        study: Study,
        rule: StoppingRule,
        launcher: Launcher,
        asked: Callable[[], int],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.study, self.rule, self.launcher, self.asked, self.tick = study, rule, launcher, asked, tick
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.watch = Watch(study.search.workers.dead_after_seconds)
        self.job = JobEnd(study.space.base.stop.job_end_minutes)

    def work(self) -> bool:
        """Trials until the study is over (true), or until this worker is asked to stop (false)."""
        while not self._stopping():
            with self.study.locked():
                found = self._next()
            if isinstance(found, Held):
                with found.lease.held():
                    self._see_to_its_end(found)
                    with self.study.locked():
                        self.study.settle()
            elif found == "over":
                return True
            else:
                self._pause(IDLE_SECONDS if found == "wait" else 0.0)
        return False

    def _stopping(self) -> bool:
        return bool(self.asked()) or self.job.near()

    def _pause(self, seconds: float) -> None:
        self.tick()
        time.sleep(seconds)

    # which trial

    def _next(self) -> Held | Literal["over", "wait", "again"]:
        """The next trial, with the lock of the study held; else whether it is worth to wait for one."""
        study = self.study
        study.settle()
        rows = [self._left_alone(row) for row in study.rows()]
        running = any(row.state == "running" for row in rows)
        if study.used_up(rows):
            return "wait" if running else "over"
        for row in rows:
            if row.state == "waiting":
                return self._hold(row)
        promoted = self.rule.promote(study.curves(rows))
        if promoted is not None:
            row = next(row for row in rows if row.number == promoted)
            assert row.state == "paused", row
            return self._hold(row, judged=True)
        if len(rows) < study.search.budget.trials and (begun := study.proposals.ask(study.space, rows)):
            return self._hold_new(*begun) or "again"
        return "wait" if running else "over"

    def _left_alone(self, row: TrialRow) -> TrialRow:
        """The row of a trial; that of one whose worker is gone waits for another."""
        folder = trial_folder(self.study.folder, row.number)
        if row.state != "running" or not self.watch.free(folder):
            return row
        waiting = row.model_copy(update={"state": "waiting", "reason": f"its worker {row.worker} is gone"})
        write_row(folder, waiting)
        return waiting

    def _hold(self, row: TrialRow, *, judged: bool = False) -> Held:
        folder = trial_folder(self.study.folder, row.number)
        write_row(folder, row.model_copy(update={"state": "running", "reason": "", "worker": self.name}))
        return Held(folder, Lease(folder), judged)

    def _hold_new(self, number: int, values: dict[str, Any]) -> Held | None:
        """A new trial; none where it is over before it begins."""
        study = self.study
        folder = trial_folder(study.folder, number)
        try:
            study.begin(number, values)
            reason, parameters = self._too_large(values, folder)
        except ValueError as error:
            row = read_row(folder)
            write_row(folder, row.model_copy(update={"state": "failed", "reason": _one_line(str(error))}))
            return None
        row = read_row(folder).model_copy(update={"parameters": parameters, "worker": self.name})
        if reason:
            write_row(folder, row.model_copy(update={"state": "violates", "reason": reason}))
            return None
        return self._hold(row)

    def _too_large(self, values: dict[str, Any], folder: Path) -> tuple[str, int]:
        """Why a potential has more parameters than it may, and how many it has."""
        from potentials.potential import Potential
        from train.comparison_member import trained_weights

        config = self.study.space.config(values, folder)
        count = trained_weights(Potential(config.potential_config()))
        most = self.study.search.constraints.max_parameters
        if most is not None and count > most:
            return f"{count:,} parameters are more than constraints.max_parameters = {most:,}", count
        return "", count

    # one trial

    def _see_to_its_end(self, held: Held) -> None:
        """Sessions until the trial is over, pauses, or this worker has to leave it."""
        row, judged = read_row(held.folder), held.judged
        while True:
            epoch = up_to_date(held.folder, row, self.study.search.objectives.error).epochs
            if not judged:  # a worker may have died between a rung and its verdict
                epoch, judged = max(0, epoch - 1), True
            until = self.rule.next_pause(row.number, epoch, row.of_epochs)
            row = self._session(held, row, until)
            if held.lease.lost():
                return
            write_row(held.folder, row)
            if row.state != "running":
                return

    def _session(self, held: Held, row: TrialRow, until: int | None) -> TrialRow:
        """One session; what the row then is, "running" where the next one follows."""
        folder, search = held.folder, self.study.search
        (folder / OUTCOME).unlink(missing_ok=True)
        constraints = search.constraints.model_dump(mode="json")
        write_json(folder / ORDER, {"constraints": constraints, "inference_atoms": search.objectives.inference_atoms})
        running = self.launcher.start(Session(folder, held.lease.token, until))
        try:
            for pid in running.pids:
                held.lease.add(pid)
            verdict = self._watch_over(running, held, row, until)
        finally:
            running.kill()
        if held.lease.lost():
            return row
        outcome = _outcome(folder, running.poll() or 0)
        if outcome.exit_code == LostError.exit_code:
            self.launcher.check()
        return self._after(up_to_date(folder, row, search.objectives.error), outcome, verdict)

    def _watch_over(self, running: Running, held: Held, row: TrialRow, until: int | None) -> Decided | None:
        """Until the session ends: what was decided meanwhile."""
        verdict: Decided | None = None
        seen, asked = _last_epoch(held.folder), False
        while running.poll() is None:
            epoch = _last_epoch(held.folder)
            # what is judged at its pause, or is at its end, is not judged before
            if seen < epoch < (until or row.of_epochs) and verdict is None:
                seen, verdict = epoch, self._verdict(row)
            if (verdict is not None or self._stopping()) and not asked:
                running.terminate()
                asked = True
            if held.lease.lost():
                running.kill()
            self._pause(POLL_SECONDS)
        return verdict

    def _verdict(self, row: TrialRow) -> Decided | None:
        """What is to become of a trial that has just been validated; none to go on."""
        rows = self.study.rows()
        curve = self.study.curve(row)
        others = [self.study.curve(other) for other in rows if other.number != row.number]
        verdict = self.rule.judge(curve, others)
        if verdict.kind != "go_on":
            return Decided("paused" if verdict.kind == "pause" else "stopped", verdict.reason)
        # whoever has more to spend goes on with it
        return Decided("waiting", reason) if (reason := self.study.used_up(rows)) else None

    def _after(self, row: TrialRow, outcome: Outcome, verdict: Decided | None) -> TrialRow:
        """The row after a session."""
        update: dict[str, Any] = {"state": outcome.kind, "reason": outcome.reason}
        update |= {name: value for name in ("parameters", "peak_memory_MB") if (value := getattr(outcome, name))}
        if outcome.training_atoms_per_s:
            update["training_atoms_per_s"] = max(row.training_atoms_per_s, outcome.training_atoms_per_s)
        if outcome.inference_atoms_per_s:
            update["inference_s_per_atom"] = 1 / outcome.inference_atoms_per_s
        interrupted = outcome.kind == "interrupted" or outcome.exit_code == TO_BE_RESUMED
        if outcome.kind == "paused":
            verdict = self._verdict(row) or Decided("running")
        if outcome.kind == "paused" or (interrupted and verdict is not None):
            assert verdict is not None
            update |= {"state": verdict.state, "reason": verdict.reason}
        elif interrupted:
            update |= {"state": "waiting", "reason": "interrupted; a worker will go on with it"}
        elif outcome.kind == "failed":
            update |= self._failed(row, outcome)
        elif outcome.kind == "finished" and (missing := self._missing(row.model_copy(update=update))):
            update |= {"state": "failed", "reason": missing}
        return row.model_copy(update=update)

    def _failed(self, row: TrialRow, outcome: Outcome) -> dict[str, Any]:
        """A failure is tried again as often as the search says."""
        tries = row.tries + 1
        again = tries <= self.study.search.workers.retries
        return {"state": "waiting" if again else "failed", "tries": tries, "reason": _one_line(outcome.reason)}

    def _missing(self, row: TrialRow) -> str:
        """Which objective of a finished trial is not known."""
        of = {"error": row.error, "inference": row.inference_s_per_atom, "energy": row.energy_J}
        names = [name for name in self.study.search.objectives.minimise if of[name] is None]
        return f"its {names[0]} is not known: the journal does not say it" if names else ""


def _outcome(folder: Path, code: int) -> Outcome:
    """What a session says of itself, or what is left of it."""
    if (folder / OUTCOME).exists():
        return Outcome.model_validate_json((folder / OUTCOME).read_text(encoding="utf-8"))
    if code == -signal.SIGTERM:  # before it listened to signals
        return Outcome(kind="interrupted")
    if code < 0:
        killed = " (out of memory, perhaps)" if code == -signal.SIGKILL else ""
        return Outcome(kind="failed", reason=f"ended by {signal.Signals(-code).name}{killed}", exit_code=code)
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return Outcome(kind="failed", reason=lines[-1] if lines else f"exit code {code}", exit_code=code)


def _last_epoch(folder: Path) -> int:
    """That has been validated."""
    rows = rows_of(folder)
    return int(rows[-1]["epoch"]) if rows else 0


def _one_line(reason: str) -> str:
    return " ".join(reason.split())[:300]
