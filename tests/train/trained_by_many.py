"""What `test_ranks.py` starts: a training in float64, of as many processes as there are."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import train.run as runs
from potentials.potential import Potential
from train import buckets
from train.config import RunConfig
from train.group import joined
from train.loop import train


def exact(*given: Any, **settings: Any) -> Potential:
    """A potential whose sums hardly depend on their order."""
    return Potential(*given, **settings).double()


def main(file: Path, *, resume: bool) -> None:
    """Train as a file says."""
    runs.Potential = exact  # type: ignore[misc,assignment]
    buckets.BUCKET_BYTES = 2000  # gradients of this small potential in some ten pieces
    config = RunConfig.model_validate(json.loads(file.read_text(encoding="utf-8")))
    with joined(config.device) as group:
        train(config, group=group, resume=resume)


if __name__ == "__main__":
    partial(main, Path(sys.argv[1]), resume="--resume" in sys.argv)()
