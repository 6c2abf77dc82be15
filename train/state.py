"""The state of a run: all that is needed to go on in the middle of an epoch as if nothing had happened."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from potentials.durable import replaced
from train.energy.account import NOT_METERED, Account

KEY = "gfm_ase_run"
FREE_TO_CHANGE = ("output", "device", "log", "stop", "batch.per_step", "optimizer.shard", "energy")
"""Settings that a resumed run may have otherwise: they touch no number, or only the end that the schedule goes to."""

FREE_OF_DATASETS = (".checksums",)
"""How such keys end in the tables of data sets."""


@dataclass
class Tally:
    """Sums over the batches of the running epoch."""

    loss: float = 0.0
    structures: int = 0
    atoms: int = 0
    largest_gradient: float = 0.0


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        epoch: the running one, from 0.
        batches: how many of the epoch are over; of each data set where these have batches of their own.
        steps: optimizer steps taken.
        best_loss: lowest validation loss so far.
        best_epoch: the epoch it was reached in, from 1; 0 before the first validation.
        worse: validations since.
        seconds: wall time spent, all sessions together.
        compiling: how much of it went before first steps, which the schedule leaves out.
        streams: that the structures of an epoch are dealt to, see `train.sampling`.
        tally: of the running epoch.
        energy: joules used, all processes and sessions together.
    """

    epoch: int = 0
    batches: list[int] = field(default_factory=list)
    steps: int = 0
    best_loss: float = float("inf")
    best_epoch: int = 0
    worse: int = 0
    seconds: float = 0.0
    compiling: float = 0.0
    streams: int = 1
    tally: Tally = field(default_factory=Tally)
    energy: Account = field(default_factory=Account)

    @property
    def joules(self) -> float | None:
        """Used so far, see `train.energy`; none where nothing was metered."""
        return self.energy.joules


@dataclass(frozen=True)
class RunState:
    """Position, settings and tensors (`weights.`, `best.` and the optimizer's)."""

    position: Position
    config: dict[str, Any]
    data: dict[str, dict[str, str]]
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below a prefix, without it."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def save_state(path: Path, state: RunState) -> None:
    """Write the state; the file of before stays until the new one is complete."""
    metadata = {"position": asdict(state.position), "config": state.config, "data": state.data}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
    with replaced(path) as beside:
        save_file(tensors, beside, metadata={KEY: json.dumps(metadata)})


def load_state(path: Path) -> RunState:
    """Read a state.

    Raises:
        ValueError: there is none, or it is not whole.
    """
    if not path.exists():
        raise ValueError(f"there is nothing to resume: {path} does not exist; start without --resume")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        position = metadata["position"]
        energy = Account(**position.get("energy", {"sources": [NOT_METERED]}))  # states from before there was a meter
        where = Position(**{**position, "tally": Tally(**position["tally"]), "energy": energy})
        return RunState(where, metadata["config"], metadata["data"], tensors)
    except (SafetensorError, KeyError, TypeError, OSError, ValueError):
        raise ValueError(f"{path} is not the state of a run, or not whole; begin anew with --overwrite") from None


def check_same_run(state: RunState, config: dict[str, Any], data: dict[str, dict[str, str]]) -> None:
    """Raise ValueError where a resumed run would not be the one that was stopped, naming the first difference."""
    difference = first_difference(state.config, config, FREE_TO_CHANGE)
    if difference is not None:
        key, was, now = difference
        raise ValueError(
            f"the run was started with {key} = {was!r} and is to be resumed with {now!r}; put it back, or start a new"
            " run in another folder"
        )
    for name in sorted(data):
        if data[name] != state.data.get(name):
            raise ValueError(f"the structures of data set {name!r} have changed since the run began; start a new run")


def first_difference(
    before: dict[str, Any], after: dict[str, Any], free: tuple[str, ...] = ()
) -> tuple[str, Any, Any] | None:
    """The first key, dotted, whose value differs, and its values; keys that begin as one of `free` may."""
    was, now = _flat(before), _flat(after)
    for key in sorted(was.keys() | now.keys()):
        if was.get(key) != now.get(key) and not (free and (key.startswith(free) or key.endswith(FREE_OF_DATASETS))):
            return key, was.get(key), now.get(key)
    return None


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        items = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in items:
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return flat


def restore(module: torch.nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy weights and buffers into a module in place, strictly: compiled functions keep seeing the same tensors."""
    own = module.state_dict()
    assert own.keys() == tensors.keys(), "a state of another potential"
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name])
