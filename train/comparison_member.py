"""One backbone of a comparison, in a process of its own: `python -m train.comparison_member FOLDER`.

The folder holds `member.json`, what is to be done; then appear the files of a run (`train.loop`), at the end
`result.json` or `failure.json`. Whatever kills the process, what is there stays usable.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from potentials.potential import Potential
from train.comparison_rows import Errors, Record, Row
from train.comparison_speed import energy_forces_speed
from train.config import RunConfig
from train.data import load_datasets
from train.evaluation import predict
from train.journal import write_json
from train.loop import carry_out, make_folder
from train.progress import Reporter
from train.result import TrainingResult
from train.run import STATE, Run
from train.warm_up import warm_up

MEMBER, PROGRESS, RESULT, FAILURE = "member.json", "progress.json", "result.json", "failure.json"
INTERRUPTED = 130


class Member(Record):
    """What a process is to do.

    Attributes:
        config: of the run; its output is the member's folder.
        data: fingerprints of the splits, which all members of a comparison share.
        notes: for the row.
    """

    config: RunConfig
    data: dict[str, dict[str, str]]
    notes: list[str]


class MemberReporter(Reporter):
    """Tells the process above how far this one is, and times the training's steps.

    Args:
        path: of the file that says so.
        notes: for the row; what comes up is added.
    """

    def __init__(self, path: Path, notes: Sequence[str]) -> None:
        super().__init__()
        self.path, self.notes = path, list(notes)
        self.atoms, self.seconds = 0, 0.0
        self._before: float | None = None
        self._told = 0.0

    def tell(self, phase: str, epochs: float = 0.0, done: float = 0.0) -> None:
        """What is being done, how many epochs are over and how much of the run."""
        self._told = time.perf_counter()
        counts = {"epochs": epochs, "done": done, "atoms": self.atoms, "seconds": self.seconds}
        write_json(self.path, {"phase": phase, **counts})

    def not_compiled(self, reason: str) -> None:
        """For the row."""
        self.notes.append(f"not compiled: {reason}")

    def go_on(self) -> None:
        """Take up the count of steps where the last process left it."""
        try:
            before = json.loads(self.path.read_text(encoding="utf-8"))
            self.atoms, self.seconds = int(before["atoms"]), float(before["seconds"])
        except (OSError, ValueError, KeyError):
            self.atoms, self.seconds = 0, 0.0

    def stepped(self, atoms: int, epochs: float, done: float) -> None:
        """A batch of so many atoms was learnt."""
        now = time.perf_counter()
        if self._before is not None:
            self.atoms, self.seconds = self.atoms + atoms, self.seconds + now - self._before
        self._before = now
        if now - self._told > 1.0:
            self.tell("training", epochs, done)

    def validated(self, row: dict[str, Any]) -> None:
        """A validation is over: its time is not that of a step."""
        del row
        self._before = None


def run_member(folder: Path) -> Row | None:
    """Train and measure one backbone as its folder says; none where it was interrupted, and can be resumed.

    Raises:
        ValueError: as `train.loop.train`.
    """
    member = Member.model_validate_json((folder / MEMBER).read_text(encoding="utf-8"))
    reporter = MemberReporter(folder / PROGRESS, member.notes)
    begun = (folder / STATE).exists()
    if begun:
        reporter.go_on()
    reporter.tell("reading data")
    datasets = load_datasets(member.config)
    if {one.name: dict(one.fingerprint) for one in datasets} != member.data:
        raise ValueError("the data have changed since the comparison began; start a new one in another folder")
    reporter.tell("compiling")
    run = Run(member.config, datasets, reporter)
    if begun:
        run.resume()
    else:
        make_folder(folder)
    warm_up(run)
    run.config = _budget_after_compiling(run)
    result = carry_out(run)
    if result.checkpoint is None:
        return None
    reporter.tell("measuring", done=1.0)
    return _row(run, result, reporter)


def _budget_after_compiling(run: Run) -> RunConfig:
    """Settings whose minutes are those of the training alone: how long compilation takes says nothing of a backbone."""
    stop = run.config.stop
    if stop.max_minutes is None:
        return run.config
    stop = stop.model_copy(update={"max_minutes": stop.max_minutes + run.position.compiling / 60})
    return run.config.model_copy(update={"stop": stop})


def _row(run: Run, result: TrainingResult, reporter: MemberReporter) -> Row:
    """The weights taken, on the splits not learnt from; and what they cost."""
    position = run.position
    measured = [one for dataset in run.datasets for one in (dataset.valid or dataset.train)]
    return Row(
        backbone=run.config.potential.backbone.name,
        status="finished",
        reason=result.reason,
        parameters=trained_weights(run.potential),
        settings=run.config.potential.backbone.model_dump(),
        valid=_errors(run, "valid"),
        test=_errors(run, "test"),
        valid_loss=position.best_loss,
        training_atoms_per_s=reporter.atoms / reporter.seconds if reporter.seconds else 0.0,
        energy_forces_atoms_per_s=energy_forces_speed(run, measured),
        peak_memory_MB=peak_memory(run.device),
        epochs=round(run.epochs(), 1),
        seconds=position.seconds - position.compiling,
        energy_J=position.joules,
        energy_source=position.energy.source,
        compile_seconds=position.compiling,
        compiled=run.compiled,
        notes=reporter.notes,
    )


def trained_weights(potential: Potential) -> int:
    """Number of weights that training changes."""
    return sum(parameter.numel() for parameter in potential.parameters() if parameter.requires_grad)


def _errors(run: Run, split: str) -> Errors:
    references = run.averaged.references
    return {
        one.name: predict(run.evaluate, references, one.split(split)).errors()
        for one in run.datasets
        if one.split(split)
    }


def peak_memory(device: torch.device) -> float:
    """MB of this process at its largest, or of the GPU that computes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e6
    # ru_maxrss is inherited from the process that started this one; VmHWM is not
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024 / 1e6
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1e6 if sys.platform == "darwin" else used * 1024 / 1e6


def end_with_parent() -> None:
    """Stop as by a termination signal, state saved, when the process above is gone: it holds the other end of stdin."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: its lock would be held when this process ends by itself
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main() -> int:
    """Run the member whose folder is named; its exit code."""
    folder = Path(sys.argv[1])
    end_with_parent()
    for name in (RESULT, FAILURE):
        (folder / name).unlink(missing_ok=True)
    try:
        row = run_member(folder)
    except (ValueError, OSError) as error:
        write_json(folder / FAILURE, {"reason": str(error)})
        return 2
    if row is None:
        return INTERRUPTED
    write_json(folder / RESULT, row.model_dump(mode="json"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
