"""What trials differ in, and the run file of each."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from potentials.backbones import BACKBONES
from potentials.backbones.painn import PaiNNConfig
from train.config import RunConfig, config_of, read_tables, set_value
from train.config_errors import near
from train.search.config import Number, Parameter, SearchConfig
from train.search.stopping import rule_of

BACKBONE = "potential.backbone."
NAME = f"{BACKBONE}name"
FIXED = ("output", "device", "log", "stop", "fine_tune")
"""What belongs to all trials alike: where they run, what they write, and how long they are."""

OF_A_DATASET = ("weight", "repeat")
"""What of a data set may differ: all else changes the structures that errors are of."""

COLUMN = re.compile(r"valid/(?P<dataset>[^/]+)/\w+")

Values = dict[str, Any]
"""Of the parameters of one trial, by their names."""


class Proposer(Protocol):
    """Chooses values; a trial of Optuna does."""

    def suggest_categorical(self, name: str, choices: Any, /) -> Any:
        """One of several."""

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int, log: bool) -> int:
        """A whole number."""

    def suggest_float(self, name: str, low: float, high: float, /, *, step: float | None, log: bool) -> float:
        """A number."""


class Space:
    """The run file, and what trials change in it.

    Args:
        search: settings.

    Raises:
        ValueError: an address that no run file has, or a value that it does not allow.
    """

    def __init__(self, search: SearchConfig) -> None:
        self.path = search.run
        self._tables = read_tables(search.run)
        self.base = config_of(copy.deepcopy(self._tables), search.run)
        self.parameters = sorted(search.parameter, key=lambda one: one.key != NAME)  # others depend on the backbone
        self._check()

    def asked(self, parameter: Parameter, backbone: str) -> bool:
        """Whether a trial of this backbone has the parameter."""
        if parameter.backbones and backbone not in parameter.backbones:
            return False
        key = parameter.key.removeprefix(BACKBONE)
        return key == parameter.key or key.split(".")[0] in BACKBONES[backbone][0].model_fields

    def propose(self, proposer: Proposer) -> Values:
        """Values of one trial."""
        values: Values = {}
        backbone = self.base.potential.backbone.name
        for parameter in self.parameters:
            if self.asked(parameter, backbone):
                values[parameter.name] = _proposed(proposer, parameter)
                backbone = values.get(NAME, backbone)
        return values

    def config(self, values: Mapping[str, Any], output: Path) -> RunConfig:
        """The run of a trial; what the run file sets for its own backbone holds as far as that of the trial has it.

        Raises:
            ValueError: the values do not go together.
        """
        tables = copy.deepcopy(self._tables)
        tables["output"] = str(output)
        by_name = {parameter.name: parameter for parameter in self.parameters}
        own = tables.setdefault("potential", {}).setdefault("backbone", {})
        name = values.get(NAME, own.get("name", PaiNNConfig().name))
        for key in own.keys() - BACKBONES[name][0].model_fields.keys():
            del own[key]
        for one, value in values.items():
            set_value(tables, f"{by_name[one].key}={_toml(value)}")
        return config_of(tables, self.path)

    def grid(self) -> list[Values]:
        """All combinations, each once.

        Raises:
            ValueError: a range without a step.
        """
        found: list[Values] = [{}]
        for parameter in self.parameters:
            longer: list[Values] = []
            for values in found:
                if self.asked(parameter, values.get(NAME, self.base.potential.backbone.name)):
                    longer += [{**values, parameter.name: value} for value in _all_values(parameter)]
                else:
                    longer.append(values)
            found = longer
        return found

    def _backbones(self) -> list[str]:
        """That trials may have."""
        named = [parameter for parameter in self.parameters if parameter.key == NAME]
        chosen = [str(choice) for one in named for choice in one.choices or ()]
        for name in chosen:
            if name not in BACKBONES:
                raise ValueError(f"there is no backbone {name!r}{near(name, list(BACKBONES))}")
        return chosen or [self.base.potential.backbone.name]

    def _check(self) -> None:
        """Every address and every extreme value, with every backbone that has it."""
        backbones = self._backbones()
        choosing = NAME in {parameter.key for parameter in self.parameters}
        for parameter in self.parameters:
            self._check_address(parameter, backbones)
            for backbone, value in itertools.product(backbones, _extremes(parameter)):
                if parameter.key == NAME:
                    self.config({parameter.name: value}, self.base.output)
                elif self.asked(parameter, backbone):
                    chosen = {NAME: backbone} if choosing else {}
                    self.config({**chosen, parameter.name: value}, self.base.output)

    def _check_address(self, parameter: Parameter, backbones: list[str]) -> None:
        first, *rest = parameter.key.split(".")
        if parameter.key == NAME and (parameter.choices is None or parameter.backbones):
            raise ValueError(f"{NAME} is a list of choices, and is asked always; give choices and no backbones")
        if first in FIXED:
            raise ValueError(f"{parameter.key} cannot be a parameter: {', '.join(FIXED)} are those of all trials")
        if first == "dataset" and rest[-1] not in OF_A_DATASET:
            raise ValueError(
                f"{parameter.key} cannot be a parameter: errors would be of other structures; of a data set"
                f" {' and '.join(OF_A_DATASET)} can"
            )
        if first == "seed" and not all(dataset.valid for dataset in self.base.dataset):
            raise ValueError("seed cannot be a parameter where it chooses the validation structures; name valid files")
        if not any(self.asked(parameter, backbone) for backbone in backbones):
            key = parameter.key.removeprefix(BACKBONE)
            known = sorted({field for name in backbones for field in BACKBONES[name][0].model_fields})
            only = f" (of {', '.join(parameter.backbones)})" if parameter.backbones else ""
            raise ValueError(
                f"no backbone of the search ({', '.join(backbones)}) has the parameter {parameter.key}{only}"
                f"{near(key, known)}"
            )


def check_validation(config: RunConfig, error: str) -> None:
    """Raise ValueError where trials have nothing to be judged by.

    Args:
        config: of the run that trials share.
        error: `objectives.error`.
    """
    names = [dataset.name for dataset in config.dataset]
    found = COLUMN.fullmatch(error)
    if error not in {"relative", "valid_loss"} and (found is None or found["dataset"] not in names):
        raise ValueError(
            f'objectives.error is {error!r}; it must be "relative", or a column of journal.csv such as'
            f' "valid/{names[0]}/forces_mae_eV_per_A" or "valid_loss"'
        )
    for dataset in config.dataset:
        if not dataset.valid and not dataset.held_back:
            raise ValueError(
                f"data set {dataset.name!r} has no validation structures, and trials are judged by their errors on"
                " them; name valid files, or set valid_fraction"
            )


def check_stopping(search: SearchConfig, base: RunConfig) -> None:
    """Raise ValueError where rules and budgets of a search ask for what its trials do not tell.

    Args:
        search: settings.
        base: the run that trials share.
    """
    halving, every = search.stopping.halving, base.log.validate_every
    rule_of(search.stopping).next_pause(0, 0, base.stop.epochs)  # brackets that there are not
    if halving is not None and halving.first_rung % every:
        raise ValueError(
            f"stopping.halving.first_rung is {halving.first_rung} and log.validate_every of the run file is {every}:"
            " trials would halt where they have no error; make the first rung a multiple of it"
        )
    if base.energy.source != "none":
        return
    limits = search.stopping.limits
    asked = {
        '"energy" in objectives.minimise': "energy" in search.objectives.minimise,
        "budget.kilojoules": search.budget.kilojoules is not None,
        "stopping.limits.max_joules": limits is not None and limits.max_joules is not None,
    }
    for name, needs in asked.items():
        if needs:
            raise ValueError(
                f"{name} needs joules, and the run file has energy.source = 'none'; take 'auto', or leave it out"
            )


def _proposed(proposer: Proposer, parameter: Parameter) -> Any:
    if parameter.choices is not None:
        # lists, which studies do not keep, go by their text
        by_text = {_text(choice): choice for choice in parameter.choices}
        return by_text[proposer.suggest_categorical(parameter.name, list(by_text))]
    low, high = parameter.low, parameter.high
    assert low is not None
    assert high is not None
    if parameter.step is not None:
        high = type(low)(_last_of(low, high, parameter.step))  # samplers want ranges that end on a step
    if parameter.whole:
        step = int(parameter.step or 1)
        return proposer.suggest_int(parameter.name, int(low), int(high), step=step, log=parameter.log)
    return proposer.suggest_float(parameter.name, float(low), float(high), step=parameter.step, log=parameter.log)


def _last_of(low: Number, high: Number, step: Number) -> Number:
    """The last number of a range, free of rounding."""
    first, stride = Decimal(str(low)), Decimal(str(step))
    return float(first + (Decimal(str(high)) - first) // stride * stride)


def stored(parameter: Parameter, value: Any) -> Any:
    """A value as the study keeps it."""
    return _text(value) if parameter.choices is not None else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _toml(value: Any) -> str:
    """As an override has it; JSON's strings, numbers and lists are TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _extremes(parameter: Parameter) -> Iterator[Any]:
    yield from (parameter.low, parameter.high) if parameter.choices is None else parameter.choices


def _all_values(parameter: Parameter) -> list[Any]:
    if parameter.choices is not None:
        return list(parameter.choices)
    assert parameter.low is not None
    assert parameter.high is not None
    step = parameter.step or (1 if parameter.whole and not parameter.log else None)
    if step is None:
        raise ValueError(f'sampler "grid" needs a step of {parameter.name}, or choices')
    return [parameter.low + step * number for number in range(int((parameter.high - parameter.low) / step + 1e-9) + 1)]
