"""`RunConfig`: all that a run is made from, read from one TOML file.

    config = load_config(Path("run.toml"), ["optimizer.learning_rate=1e-3", "dataset.acac.weight=2"])

Nothing else steers a run: no environment variable but those that the paths name, no setting that is not in here.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from potentials.potential import PotentialConfig
from train.config_dataset import ENERGY_UNITS, LENGTH_UNITS, STRESS_UNITS, DatasetConfig
from train.config_energy import EnergyConfig
from train.config_errors import sentences
from train.config_fine_tune import FineTuneConfig, LoraConfig
from train.config_paths import expand
from train.config_tables import (
    BatchConfig,
    LogConfig,
    LossConfig,
    OptimizerConfig,
    ParallelConfig,
    PotentialTable,
    StopConfig,
    Table,
    TermConfig,
    UncertaintyConfig,
)
from train.inherited import inherit
from train.precision import Precision
from train.tasks import Task, tasks_of

__all__ = [
    "ENERGY_UNITS",
    "LENGTH_UNITS",
    "STRESS_UNITS",
    "BatchConfig",
    "DatasetConfig",
    "EnergyConfig",
    "FineTuneConfig",
    "LogConfig",
    "LoraConfig",
    "LossConfig",
    "OptimizerConfig",
    "PotentialTable",
    "RunConfig",
    "StopConfig",
    "TermConfig",
    "UncertaintyConfig",
    "dump_config",
    "load_config",
]

DEVICE = re.compile(r"auto|cpu|(cuda|xpu)(:\d+)?")


class RunConfig(Table):
    """A run file.

    Attributes:
        output: folder of the run.
        seed: of the weights, the random validation splits and the order of the batches.
        split_seed: of the random validation splits; without, it is `seed`.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1" or "xpu".
        compile: compile the step; without, it runs eagerly.
        precision: of the products of matrices in the network while it trains: "float32" or "bf16".
        checkpoint_activations: keep what goes into each layer alone, and compute layers again in the passes back.
        potential: the network.
        dataset: one table each.
        fine_tune: a checkpoint to begin from; without, weights begin at random.
        loss: one term for each quantity.
        batch: how large a batch may be.
        parallel: how processes share the work beyond the batches.
        optimizer: how the weights change.
        stop: when the run ends.
        log: what is written, and when.
        uncertainty: what the potential is to know of its errors.
        energy: where joules come from.
    """

    output: Path
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    split_seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    device: str = "auto"
    compile: bool = True
    precision: Precision = "float32"
    checkpoint_activations: bool = False
    potential: PotentialTable = PotentialTable()
    dataset: Annotated[tuple[DatasetConfig, ...], Field(min_length=1)]
    fine_tune: FineTuneConfig | None = None
    loss: LossConfig = LossConfig()
    batch: BatchConfig = BatchConfig()
    parallel: ParallelConfig = ParallelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    stop: StopConfig = StopConfig()
    log: LogConfig = LogConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    energy: EnergyConfig = EnergyConfig()

    @field_validator("output", mode="before")
    @classmethod
    def _absolute_output(cls, value: Any, info: ValidationInfo) -> str:
        if not isinstance(value, str | Path):
            raise ValueError(f"{value!r} is given; it must be the path of a folder")
        return expand(str(value), Path((info.context or {}).get("base", ".")))

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not DEVICE.fullmatch(device):
            raise ValueError(f'{device!r} is given; it must be "auto", "cpu", "cuda", "cuda:0" or "xpu"')
        return device

    @model_validator(mode="after")
    def _one_way_to_save_memory(self) -> Self:
        if self.compile and self.checkpoint_activations:
            raise ValueError(
                "checkpoint_activations = true with compile = true: a compiled step is one list of operations, in which"
                " nothing is computed twice; set compile = false, or take checkpoint_activations out"
            )
        return self

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        names = [dataset.name for dataset in self.dataset]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two data sets are called {twice[0]!r}; each is a head of its own and needs its own name")
        return self

    @model_validator(mode="after")
    def _known_heads(self) -> Self:
        if self.fine_tune is not None:
            self.fine_tune.check([dataset.name for dataset in self.dataset], self.output / "model.safetensors")
            if self.parallel.tasks and (self.fine_tune.freeze or self.fine_tune.lora):
                raise ValueError(
                    "parallel.tasks divides weights that are all learnt; leave out fine_tune.freeze and lora"
                )
        return self

    @model_validator(mode="after")
    def _terms_of_outputs(self) -> Self:
        names = [output.name for output in self.potential.output]
        strangers = sorted(self.loss.outputs.keys() - set(names))
        if strangers:
            there = ", ".join(names) or "none"
            raise ValueError(
                f"loss.outputs.{strangers[0]} is no output of the potential; there is {there}: add a"
                " [[potential.output]] of that name, or take the term out"
            )
        for dataset in self.dataset:
            for name in dataset.labels.keys() - set(names):
                raise ValueError(
                    f"dataset.{dataset.name}.labels names {name!r}, which is no output of the potential; add a"
                    " [[potential.output]] of that name, or take the label out"
                )
        if not any(task.term.weight for task in self.tasks()):
            raise ValueError("the weights of all terms of the loss are 0; at least one must be greater")
        return self

    def tasks(self) -> tuple[Task, ...]:
        """What is compared with labels, and how it counts."""
        return tasks_of(self.loss, [output.quantity for output in self.potential.output])

    def step_options(self) -> dict[str, Any]:
        """How a step is computed, as `train.step.LossAndGradients` takes it."""
        return {"precision": self.precision, "recompute": self.checkpoint_activations}

    def potential_config(self) -> PotentialConfig:
        """What the potential is built from: the backbone, and a head for each data set in their order."""
        return PotentialConfig(
            backbone=self.potential.backbone,
            heads=tuple(dataset.name for dataset in self.dataset),
            head_width=self.potential.head_width,
            charge_and_spin=self.potential.charge_and_spin,
            repulsion=self.potential.repulsion,
            outputs=self.potential.output,
        )


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration in a TOML file, or in a JSON file as `dump_config` gives it.

    Args:
        path: relative paths in the file start at its folder.
        overrides: `table.key=value` with a value as TOML writes it (a bare word is a string); `dataset.0.weight=2` or
            `dataset.NAME.weight=2` for an entry of the list.

    Raises:
        ValueError: no such file, no TOML, an unknown key (the nearest one is named), a wrong value; all at once.
    """
    data = read_tables(path)
    for override in overrides:
        set_value(data, override)
    return config_of(data, path)


def config_of(data: dict[str, Any], path: Path) -> RunConfig:
    """The configuration in the tables of a run file.

    Args:
        data: as `read_tables` gives them.
        path: of the file.

    Raises:
        ValueError: an unknown key, a wrong value; all at once.
    """
    try:
        inherit(data, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    # by way of JSON, for there strict means: numbers are numbers, true is not 1, and a list may be a tuple
    text = json.dumps(data, default=str)
    try:
        return RunConfig.model_validate_json(text, strict=True, context={"base": path.parent})
    except ValidationError as error:
        wrong = sentences(error, RunConfig, data)
    raise ValueError(f"{path}: {wrong[0]}" if len(wrong) == 1 else "\n  - ".join([f"{path}:", *wrong]))


def dump_config(config: RunConfig) -> dict[str, Any]:
    """The configuration with all defaults and absolute paths, as JSON has it; `load_config` of that file is equal."""
    dumped: dict[str, Any] = config.model_dump(mode="json")
    return dumped


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a TOML or JSON file, nothing checked.

    Raises:
        ValueError: no such file, or no TOML or JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); name a run file") from None
    except ValueError as error:
        raise ValueError(f"{path} is no {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds no tables; see docs/train.md for what a run file is")
    return data


def set_value(data: dict[str, Any], text: str) -> None:
    """Set one value in the tables, in place.

    Raises:
        ValueError: `text` is no override, or its address leads to no table.
    """
    address, equals, value = text.partition("=")
    parts = [part.strip() for part in address.split(".")]
    if not equals or not all(parts):
        raise ValueError(f"override {text!r} is not of the form table.key=value, such as optimizer.learning_rate=1e-3")
    table: Any = data
    for part in parts[:-1]:
        table = _entry(table, part, text) if isinstance(table, list) else table.setdefault(part, {})
        if not isinstance(table, dict | list):
            raise ValueError(f"override {text!r}: {part} is a value, not a table")
    if isinstance(table, list):
        raise ValueError(
            f"override {text!r}: {parts[-2]} is a list; name an entry and its key, such as dataset.0.weight=2"
        )
    table[parts[-1]] = toml_value(value.strip())


def _entry(entries: list[Any], part: str, text: str) -> Any:
    names = [str(entry.get("name")) for entry in entries if isinstance(entry, dict)]
    if part in names:
        return entries[names.index(part)]
    if part.isdecimal() and int(part) < len(entries):
        return entries[int(part)]
    raise ValueError(
        f"override {text!r}: there is no {part}; there are {', '.join(names)} (or 0 to {len(entries) - 1})"
    )


def toml_value(text: str) -> Any:
    """A value as TOML writes it; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
