"""What is known of a model that comes with the package, beside its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
"""Where the files of the models lie."""


@dataclass(frozen=True)
class DataSet:
    """Where labels are from.

    Attributes:
        name: that people call it by.
        citation: in one line.
        licence: of the data.
    """

    name: str
    citation: str
    licence: str


@dataclass(frozen=True)
class ShippedHead:
    """One branch of a model.

    Attributes:
        theory: the level of theory of its labels, in words.
        good_for: what to use it for.
        data: names of its data sets, of `ShippedModel.data`.
    """

    theory: str
    good_for: str
    data: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.theory}: {self.good_for}"


@dataclass(frozen=True)
class ShippedModel:
    """One model of the package.

    Attributes:
        name: given in the place of a path.
        about: one line.
        heads: by name.
        data: what it was trained on.
    """

    name: str
    about: str
    heads: Mapping[str, ShippedHead]
    data: tuple[DataSet, ...]

    @property
    def path(self) -> Path:
        """Its checkpoint."""
        return FOLDER / f"{self.name}.safetensors"
