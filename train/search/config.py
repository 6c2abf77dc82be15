"""`SearchConfig`: all that a search is made from, read from one TOML file.

settings = load_search(Path("search.toml"))
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from potentials.backbones import BACKBONES
from train.config import read_tables
from train.config_errors import near, sentences
from train.config_paths import expand
from train.config_tables import Positive, PositiveInt, Table
from train.search.stopping import StoppingConfig

Objective = Literal["error", "inference", "energy"]
Value = bool | int | float | str | list[Any]
Number = int | float

SERVER = re.compile(r"postgresql(\+\w+)?://")


class Parameter(Table):
    """`[[parameter]]`: one setting of the run file that trials differ in: `choices`, or from `low` to `high`.

    Attributes:
        key: its address in the run file, as `--set` takes it.
        choices: the values it may have.
        low, high: the bounds of a range, both allowed; whole numbers for whole numbers.
        step: between values of the range, from `low` on.
        log: whether orders of magnitude are alike.
        backbones: asked for these alone; without, wherever the backbone has the setting.
    """

    key: Annotated[str, Field(min_length=1)]
    choices: Annotated[tuple[Value, ...], Field(min_length=1)] | None = None
    low: Number | None = None
    high: Number | None = None
    step: Number | None = None
    log: bool = False
    backbones: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        bounds = (self.low, self.high)
        if self.choices is not None and (bounds != (None, None) or self.step is not None or self.log):
            raise ValueError(f"{self.key} has choices and a range; give one of them")
        if self.choices is None:
            self._check_range()
        return self

    def _check_range(self) -> None:
        if self.low is None or self.high is None:
            raise ValueError(f"{self.key} has neither choices nor a range; give choices, or low and high")
        if self.low > self.high:
            raise ValueError(f"{self.key} goes from {self.low} to {self.high}; low must not be above high")
        if self.log and (self.step is not None or self.low <= 0):
            raise ValueError(f"{self.key} with log = true needs low above 0 and takes no step")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"{self.key} has step = {self.step}; it must be above 0")
        if self.whole and self.step is not None and not isinstance(self.step, int):
            raise ValueError(f"{self.key} has whole bounds and step = {self.step}; write low and high with a point")

    @field_validator("backbones")
    @classmethod
    def _known(cls, backbones: tuple[str, ...]) -> tuple[str, ...]:
        for name in backbones:
            if name not in BACKBONES:
                raise ValueError(f"there is no backbone {name!r}{near(name, list(BACKBONES))}")
        return backbones

    @property
    def whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def name(self) -> str:
        """What the study calls it."""
        return f"{self.key} ({', '.join(self.backbones)})" if self.backbones else self.key


class ObjectivesConfig(Table):
    """`[objectives]`: what is made small.

    Attributes:
        minimise: "error" of the validation; "inference", seconds per atom of energy and forces; "energy", joules that
            the training took. Of several the front is looked for.
        error: "relative", the mean over data sets and quantities of the mean absolute error divided by that of the
            trivial predictor; or a column of `journal.csv`, such as "valid/acac/forces_mae_eV_per_A".
        inference_atoms: validation structures are evaluated together up to so many atoms when inference is measured.
    """

    minimise: Annotated[tuple[Objective, ...], Field(min_length=1)] = ("error",)
    error: str = "relative"
    inference_atoms: PositiveInt = 512

    @field_validator("minimise")
    @classmethod
    def _with_the_error(cls, minimise: tuple[Objective, ...]) -> tuple[Objective, ...]:
        if "error" not in minimise or len(set(minimise)) < len(minimise):
            raise ValueError('"error" must be among them, and each once: what is cheap and wrong is of no use')
        return minimise


class ConstraintsConfig(Table):
    """`[constraints]`: a trial that breaks one is a row that says so, and is not trained further.

    Attributes:
        max_parameters: learnt numbers; checked before anything is started.
        max_memory_MB: peak of a process that trains (of the GPU where one computes), after the first inference and at
            each validation.
        min_training_atoms_per_s: of the fastest epoch so far, all processes together, from the second on.
        min_inference_atoms_per_s: of energy and forces; measured before the training.
    """

    max_parameters: PositiveInt | None = None
    max_memory_MB: Positive | None = None
    min_training_atoms_per_s: Positive | None = None
    min_inference_atoms_per_s: Positive | None = None


class SamplerConfig(Table):
    """`[sampler]`: who proposes trials.

    Attributes:
        name: "tpe" (one objective or several), "nsga2" (several), "random" or "grid" (every combination once).
        seed: of its random numbers, together with the number of the trial.
        startup: trials at random before TPE learns; size of NSGA-II's population.
    """

    name: Literal["tpe", "nsga2", "random", "grid"] = "tpe"
    seed: Annotated[int, Field(ge=0)] = 0
    startup: Annotated[int, Field(ge=2)] = 10


class BudgetConfig(Table):
    """`[budget]`: whichever comes first; trials that run when energy or minutes are used up wait for more.

    Attributes:
        trials: that begin.
        kilojoules: of all trials together.
        minutes: of training, all trials together.
    """

    trials: PositiveInt = 50
    kilojoules: Positive | None = None
    minutes: Positive | None = None


class WorkersConfig(Table):
    """`[workers]`.

    Attributes:
        retries: how often a trial that failed is tried again.
        dead_after_seconds: without a sign of life after which a worker's trial is taken over.
    """

    retries: Annotated[int, Field(ge=0)] = 0
    dead_after_seconds: Annotated[float, Field(ge=5)] = 60.0


class SearchConfig(Table):
    """A search file.

    Attributes:
        run: path of the run file whose settings all trials share.
        output: folder of the study.
        parameter: what trials differ in.
        objectives: what is made small.
        constraints: what a trial must keep.
        sampler: who proposes.
        stopping: who ends trials early, see `train.search.stopping`.
        budget: when the search is over.
        workers: what becomes of failed trials and lost workers.
        storage: "journal", a file in the folder of the study, or the URL of a PostgreSQL database.
    """

    run: Path
    output: Path
    parameter: Annotated[tuple[Parameter, ...], Field(min_length=1)]
    objectives: ObjectivesConfig = ObjectivesConfig()
    constraints: ConstraintsConfig = ConstraintsConfig()
    sampler: SamplerConfig = SamplerConfig()
    stopping: StoppingConfig = StoppingConfig()
    budget: BudgetConfig = BudgetConfig()
    workers: WorkersConfig = WorkersConfig()
    storage: str = "journal"

    @field_validator("run", "output", mode="before")
    @classmethod
    def _absolute(cls, value: Any, info: ValidationInfo) -> str:
        if not isinstance(value, str | Path):
            raise ValueError(f"{value!r} is given; it must be a path")
        return expand(str(value), Path((info.context or {}).get("base", ".")))

    @field_validator("storage")
    @classmethod
    def _known_storage(cls, storage: str) -> str:
        if storage != "journal" and not SERVER.match(storage):
            raise ValueError(f'{storage!r} is given; it must be "journal" or "postgresql://user@host/database"')
        return storage

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [parameter.name for parameter in self.parameter]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"parameter {twice[0]!r} is given twice; tell them apart by their backbones")
        if self.sampler.name == "nsga2" and len(self.objectives.minimise) == 1:
            raise ValueError('sampler "nsga2" is for several objectives; take "tpe", or minimise more than the error')
        return self

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        weighted = [one.key for one in self.parameter if one.key.startswith("loss.") or one.key.endswith(".weight")]
        if self.objectives.error.endswith("_loss") and weighted:
            raise ValueError(
                f"objectives.error = {self.objectives.error!r} of trials that differ in {weighted[0]} cannot be"
                ' compared; take "relative", or an error such as "valid/NAME/forces_mae_eV_per_A"'
            )
        return self


def load_search(path: Path) -> SearchConfig:
    """The search in a TOML file.

    Raises:
        ValueError: no such file, no TOML, an unknown key (the nearest one is named), a wrong value; all at once.
    """
    data = read_tables(path)
    try:
        text = json.dumps(data, default=str)
        return SearchConfig.model_validate_json(text, strict=True, context={"base": path.parent})
    except ValidationError as error:
        wrong = [one.replace("the run file", "the search file") for one in sentences(error, SearchConfig, data)]
    raise ValueError(f"{path}: {wrong[0]}" if len(wrong) == 1 else "\n  - ".join([f"{path}:", *wrong]))
