"""What a run computes: costs of its batches, its optimizer and its loader, measured or read from a file."""

from __future__ import annotations

import copy
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from potentials.potential import Potential
from train.config import RunConfig
from train.config_tables import NotNegative, Table
from train.cost import CostModel, Measured, measure, samples, seconds_on
from train.journal import write_json
from train.optimizer import Optimizer
from train.plan.step import Work
from train.run import Run

REPEATS = 5


class CostsFile(Table):
    """Costs of one device, as `gfm-ase plan` leaves them in costs.json.

    Attributes:
        step: s of a batch.
        atom: s for each atom of it.
        edge: s for each directed edge.
        update: s of a step of the optimizer.
        input: s to assemble one structure of a batch.
        device: what they were measured on.
        relative_error: of the fit; none where it is not known.
    """

    step: NotNegative
    atom: NotNegative
    edge: NotNegative
    update: NotNegative = 0.0
    input: NotNegative = 0.0
    device: str
    relative_error: NotNegative | None = None

    @property
    def model(self) -> CostModel:
        """Of a batch."""
        return CostModel(self.step, self.atom, self.edge)

    def times_faster(self, factor: float) -> CostsFile:
        """Of a device that computes so many times as fast; batches are assembled by its host as before."""
        faster = asdict(self.model.times_faster(factor))
        return self.model_copy(update={**faster, "update": self.update / factor})


def read_costs(path: Path) -> CostsFile:
    """Costs from a JSON file.

    Raises:
        ValueError: there is none, or it lacks a cost or has a wrong one.
    """
    wanted = "step, atom, edge (in s), device, and perhaps update and input; gfm-ase plan writes such a costs.json"
    try:
        found = CostsFile.model_validate_json(path.read_text(encoding="utf-8"))
        _ = found.model
    except OSError as error:
        raise ValueError(f"--costs {path} cannot be read ({error.strerror}); name a JSON file with {wanted}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"--costs {path}: {where}: {first['msg']}; it must hold {wanted}") from None
    return found


def measure_costs(run: Run, progress: Callable[[int, int], None] | None = None) -> tuple[CostsFile, Measured]:
    """Costs of a run on its device. Its weights are what they were."""
    measured = measure(run, progress=progress)
    costs = CostsFile(
        **asdict(measured.model),
        update=_update_seconds(run),
        input=_input_seconds(run),
        device=measured.device,
        relative_error=measured.relative_error,
    )
    return costs, measured


def write_costs(path: Path, costs: CostsFile) -> None:
    """The file that `read_costs` reads."""
    write_json(path, json.loads(costs.model_dump_json()))


@dataclass(frozen=True)
class Weights:
    """How many numbers are learnt.

    Attributes:
        shared: all but those of the heads.
        head: of one head.
    """

    shared: int
    head: int


def weights_of(config: RunConfig) -> Weights:
    """Of the potential of a run, without its data."""
    one, two = (
        sum(parameter.numel() for parameter in Potential(made_of).parameters())
        for made_of in (
            config.potential_config().model_copy(update={"heads": ("a",)}),
            config.potential_config().model_copy(update={"heads": ("a", "b")}),
        )
    )
    return Weights(shared=2 * one - two, head=two - one)


def work_of(costs: CostsFile, weights: Weights, heads: Sequence[str]) -> Work:
    """The costs with a head for each data set."""
    return Work(costs.model, costs.update, costs.input, weights.shared, dict.fromkeys(heads, weights.head))


def _update_seconds(run: Run) -> float:
    """Of a step of an optimizer like the run's, on a copy of its potential and gradients of zero."""
    potential = copy.deepcopy(run.potential)
    optimizer = Optimizer(potential, run.config.optimizer, elements=run.optimizer.elements)
    gradients = [torch.zeros_like(weight) for weight in potential.parameters()]
    seconds = [seconds_on(run.device, lambda: optimizer.step(gradients, 0.0)) for _ in range(REPEATS + 1)]
    return statistics.median(seconds[1:])


def _input_seconds(run: Run) -> float:
    """To assemble one structure of a batch."""
    numbers = max(samples(run), key=len)
    assemble = partial(_assemble, run, numbers)
    return statistics.median([seconds_on(run.device, assemble) for _ in range(REPEATS)]) / len(numbers)


def _assemble(run: Run, numbers: Any) -> Any:
    return run.structures.batch(numbers).to(run.device)
