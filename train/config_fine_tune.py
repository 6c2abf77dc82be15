"""`[fine_tune]`: which checkpoint a run begins from, and what of it is learnt."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from train.config_errors import near
from train.config_paths import beginning
from train.config_tables import Positive, PositiveInt, Table


class LoraConfig(Table):
    """`[fine_tune.lora]`: low-rank changes of dense weights (Hu et al., ICLR 2022, arXiv:2106.09685).

    Attributes:
        rank: of the change of a weight; that of a weight with a smaller side is this side.
        alpha: the change is alpha / rank times the product of its factors.
        layers: which weights are changed, named as in `freeze`; those of them that are dense are.
    """

    rank: PositiveInt = 8
    alpha: Positive = 8.0
    layers: tuple[str, ...] = Field(default=("backbone",), min_length=1)


class FineTuneConfig(Table):
    """`[fine_tune]`: a run that begins from a checkpoint.

    Attributes:
        start_from: the checkpoint, or the name of a model that comes with the package. A data set called like one of
            its heads goes on with this head as it is: weights, E0, scale and shift.
        heads: data sets that begin from a head of another name.
        references: E0 of the data sets in `heads`: "fit" corrects the head's for what the potential is off by on the
            training split, "keep" leaves them.
        freeze: weights that stay as they are: "backbone", "heads", "embeddings", or names of parameters and beginnings
            of names up to a dot.
        lora: learn low-rank changes of dense weights, and new heads, alone.
    """

    start_from: Path
    heads: dict[str, str] = Field(default_factory=dict)
    references: Literal["fit", "keep"] = "fit"
    freeze: tuple[str, ...] = ()
    lora: LoraConfig | None = None

    @field_validator("start_from", mode="before")
    @classmethod
    def _absolute_path(cls, value: Any, info: ValidationInfo) -> Any:
        return str(beginning(value, Path((info.context or {}).get("base", ".")))) if isinstance(value, str) else value

    def check(self, datasets: Collection[str], model: Path) -> None:
        """Look at it beside the rest of the run file.

        Args:
            datasets: their names.
            model: what the run writes its checkpoint to.

        Raises:
            ValueError: `heads` names no data set; the run would write over its beginning.
        """
        for name in self.heads:
            if name not in datasets:
                raise ValueError(
                    f"fine_tune.heads names {name!r}, which is no data set; there is {', '.join(datasets)}"
                    f"{near(name, list(datasets))}"
                )
        if self.start_from.resolve() == model.resolve():
            raise ValueError(
                f"fine_tune.start_from is {self.start_from}, which the run would write over; give another output"
            )
