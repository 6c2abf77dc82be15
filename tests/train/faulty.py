"""What `test_faults.py` starts: a training of several processes in which one of them dies, stops or waits.

faulty.py RUN.json MOMENT RANK DEED: at that moment of the training, the process of that rank does the deed.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from trained_by_many import exact

import train.run as runs
from train import loop, saving
from train.config import RunConfig
from train.group import LostError, joined

MOMENTS = {
    "reading": (loop, "load_datasets"),
    "compiling": (loop, "warm_up"),
    "step": (runs.Run, "shared_step"),
    "validation": (runs.Run, "validate"),
    "writing": (saving, "save_state"),
    "export": (runs, "export"),
    "end": (runs.Run, "finish"),
}
SECONDS_TO_WAIT = 8

SECOND_TIME = {"step", "validation", "writing"}
"""The first state is written before the first step, and the first step is not the one to be lost."""


def at(moment: str, deed: Callable[[], None]) -> None:
    """Do something when a call comes; where a state is written, half of it is there."""
    module, name = MOMENTS[moment]
    real = getattr(module, name)
    calls = 0

    def faulty(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1 + (moment in SECOND_TIME):
            if moment == "writing":
                path = given[0]
                folder = path.with_name(f".{path.name}.tmp")
                folder.mkdir()
                (folder / "half").write_bytes(b"half a state")
            deed()
        return real(*given, **named)

    setattr(module, name, faulty)


def deed(name: str, folder: Path) -> Callable[[], None]:
    """What happens."""

    def do() -> None:
        (folder / "now").touch()
        if name == "wait":  # until the test has done something to the other one
            time.sleep(SECONDS_TO_WAIT)
        else:
            os.kill(os.getpid(), getattr(signal, name))

    return do


def main(file: Path, moment: str, rank: int, what: str) -> int:
    runs.Potential = exact  # type: ignore[misc,assignment]
    torch.set_num_threads(1)
    config = RunConfig.model_validate(json.loads(file.read_text(encoding="utf-8")))
    if rank == int(os.environ["RANK"]):
        at("end" if moment == "export" and rank else moment, deed(what, file.parent))
    try:
        with joined(config.device, timedelta(minutes=config.stop.unanswered_minutes)) as group:
            resume, overwrite = loop.where_it_stands(config.output, group)
            loop.train(config, group=group, resume=resume, overwrite=overwrite)
    except LostError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]))
