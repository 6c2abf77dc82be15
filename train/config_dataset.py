"""`[[dataset]]`: one level of theory, its files, and how its labels are written in them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from ase import units
from ase.data import atomic_numbers
from pydantic import Field, ValidationInfo, field_validator, model_validator

from potentials.potential import HEAD_NAME
from train.config_paths import expand
from train.config_tables import OptionalPositive, Positive, Table

ENERGY_UNITS: dict[str, float] = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": units.Hartree,
    "Ry": units.Rydberg,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
}
LENGTH_UNITS: dict[str, float] = {"Å": 1.0, "Angstrom": 1.0, "Bohr": units.Bohr}
STRESS_UNITS: dict[str, float] = {"eV/Å3": 1.0, "eV/Å³": 1.0, "GPa": units.GPa, "kbar": 0.1 * units.GPa, "eV": 1.0}

LABEL_UNITS: dict[str, dict[str, float]] = {
    "charges": {"e": 1.0},
    "dipole": {"e·Å": 1.0, "eÅ": 1.0, "Debye": units.Debye, "e·Bohr": units.Bohr, "eBohr": units.Bohr},
    "magmoms": {"μB": 1.0},
}
"""Units that labels of well-known outputs may be in; of any other, `factor` tells."""

Format: TypeAlias = Literal[
    "auto",
    "ani1x",
    "qm7x",
    "spice",
    "transition1x",
    "mptrj",
    "matpes_pbe",
    "matpes_r2scan",
    "oc20",
    "oc20_total",
    "oc22",
    "omat24",
    "omol25",
    "alexandria",
    "hydragnn",
]
"""By suffix, or the names of `train.sources.registry.SOURCES`."""

Paths = tuple[str, ...]


OF_FILES = (
    "energy_key",
    "forces_key",
    "stress_key",
    "energy_unit",
    "length_unit",
    "stress_unit",
    "stress_sign",
    "spin",
    "labels",
)
"""Settings that say how files are to be read; a store says it itself."""


class LabelConfig(Table):
    """`[dataset.labels]`: where the label of an output stands in the frames, and in which unit.

    Attributes:
        key: name in atoms.info, atoms.arrays or the calculator's results; that of the output if left out.
        unit: of charges, a dipole or magnetic moments; see `LABEL_UNITS`.
        factor: what one unit of the label is worth in the unit of the output.
        origin: of the dipole of a charged structure: "coordinates" (0, 0, 0), or the "mass" centre of the molecule.
    """

    key: str | None = None
    unit: str | None = None
    factor: Positive = 1.0
    origin: Literal["coordinates", "mass"] = "coordinates"


class DatasetConfig(Table):
    """One data set; its name is that of its head.

    Attributes:
        name: letters, digits, '_' and '-'.
        train: files to learn from; globs, `${VAR}` and `~` are expanded. One string or a list.
        valid: files to choose the best weights by.
        test: files that are looked at once, after training.
        valid_fraction: share of `train` held back at random when there are no `valid` files; 0.1 if not given.
        energy_key: name in atoms.info of the total energy; without, the energy of the attached calculator.
        forces_key: name in atoms.arrays of the forces; without, those of the attached calculator.
        stress_key: name in atoms.info of the stress (6 Voigt or 3×3); without, that of the attached calculator.
        energy_unit: of the energy; `energy_unit / length_unit` is that of the forces.
        length_unit: of the forces alone: positions are in Å, as always in ASE.
        stress_unit: of the stress; "eV" is that of a virial, which is divided by the volume of the cell.
        stress_sign: "ase" (positive is tensile) or "negative" (positive is compressive, as VASP prints it and
            as virials mostly are).
        format: layout of the files: "auto" goes by their suffix, other names are published ones, which bring keys and
            units (`train.sources.registry`).
        spin: what ``info["spin"]`` counts: "unpaired" electrons, or the "multiplicity", which is one more (OMol25).
        labels: of the outputs of the potential, by name; those left out are looked for under their own names.
        e0: "fit" to the training split, or the energy of each element in `energy_unit`.
        weight: of this data set in the loss.
        repeat: how often each of its structures comes in an epoch of the run; 0.1 is a tenth of them, another one each
            time.
        checksums: compare all shards of stores with their checksums before the training, which reads them whole.
        in_memory: true holds structures and graphs in memory, false reads them from a store as they are needed, and
            "shared" from the memory of all processes, each of which holds a part of the store (mpiexec); without,
            splits from stores with more than 500,000 atoms are read as they are needed.
        max_force: eV/Å; frames with a larger force on an atom are left out and counted.
        on_bad: what to do with a frame that cannot be right (NaN label, no atoms, two atoms in one place, no cell):
            "raise", or "drop" and count it.
    """

    name: str
    train: Annotated[Paths, Field(min_length=1)]
    valid: Paths = ()
    test: Paths = ()
    valid_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    energy_unit: Literal["eV", "meV", "Hartree", "Ry", "kcal/mol", "kJ/mol"] = "eV"
    length_unit: Literal["Å", "Angstrom", "Bohr"] = "Å"
    stress_unit: Literal["eV/Å3", "eV/Å³", "GPa", "kbar", "eV"] = "eV/Å3"
    stress_sign: Literal["ase", "negative"] = "ase"
    format: Format = "auto"
    spin: Literal["unpaired", "multiplicity"] = "unpaired"
    labels: dict[str, LabelConfig] = Field(default_factory=dict)
    e0: Literal["fit"] | dict[str, float] = "fit"
    weight: Positive = 1.0
    repeat: Positive = 1.0
    checksums: bool = False
    in_memory: bool | Literal["shared"] | None = None
    max_force: OptionalPositive = None
    on_bad: Literal["raise", "drop"] = "raise"

    @field_validator("name")
    @classmethod
    def _usable_name(cls, name: str) -> str:
        if not HEAD_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name; use letters, digits, '_' and '-', a letter or digit first")
        return name

    @field_validator("labels")
    @classmethod
    def _known_units(cls, labels: dict[str, LabelConfig]) -> dict[str, LabelConfig]:
        for name, label in labels.items():
            allowed = LABEL_UNITS.get(name, {})
            if name == "direct_forces":
                raise ValueError("direct_forces learn from the forces; give forces_key and energy_unit instead")
            if label.unit is not None and label.unit not in allowed:
                those = " or ".join(repr(unit) for unit in allowed) or "left out; give factor instead"
                raise ValueError(f"the unit of {name} is {label.unit!r}; it must be {those}")
        return labels

    @field_validator("train", "valid", "test", mode="before")
    @classmethod
    def _absolute_paths(cls, value: Any, info: ValidationInfo) -> Paths:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{value!r} is given; it must be a path or a list of paths")
        base = Path((info.context or {}).get("base", "."))
        return tuple(expand(text, base) for text in texts)

    @field_validator("e0", mode="before")
    @classmethod
    def _fit_or_numbers(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            if value != "fit":
                raise ValueError(f'{value!r} is given; it must be "fit" or a table of energies such as {{ H = -13.6 }}')
            return value
        for symbol, energy in value.items():
            if symbol not in atomic_numbers or symbol == "X":
                raise ValueError(f"{symbol!r} is no element symbol")
            number = isinstance(energy, int | float) and not isinstance(energy, bool)
            if not number or not math.isfinite(energy):
                raise ValueError(f"the energy of {symbol} is {energy!r}; it must be a finite number")
        return {symbol: float(energy) for symbol, energy in value.items()}

    @model_validator(mode="after")
    def _one_source_of_validation(self) -> Self:
        if self.valid and self.valid_fraction is not None:
            raise ValueError("both valid and valid_fraction are given; give the files or the share, not both")
        return self

    @property
    def held_back(self) -> float:
        """Share of the training files that becomes the validation split."""
        if self.valid:
            return 0.0
        return 0.1 if self.valid_fraction is None else self.valid_fraction

    def label(self, name: str) -> LabelConfig:
        """Where the label of an output stands."""
        return self.labels.get(name, LabelConfig())

    def label_factor(self, name: str) -> float:
        """What one unit of the label of an output is worth in the unit of the output."""
        label = self.label(name)
        return label.factor * (1.0 if label.unit is None else LABEL_UNITS[name][label.unit])

    @property
    def energy_factor(self) -> float:
        """eV in one unit of the energy."""
        return ENERGY_UNITS[self.energy_unit]

    @property
    def forces_factor(self) -> float:
        """eV/Å in one unit of the forces."""
        return self.energy_factor / LENGTH_UNITS[self.length_unit]

    @property
    def stress_factor(self) -> float:
        """eV/Å³ of ASE's sign in one unit of the stress."""
        return STRESS_UNITS[self.stress_unit] * (1.0 if self.stress_sign == "ase" else -1.0)


def check_own_units(config: DatasetConfig, which: str) -> None:
    """Raise ValueError where settings say how to read what says it itself."""
    own = DatasetConfig(name=config.name, train=config.train)
    changed = [key for key in OF_FILES if getattr(config, key) != getattr(own, key)]
    if changed:
        raise ValueError(
            f"data set {config.name!r}: {which}, whose labels have their names and are in eV and Å; leave {changed[0]}"
            " out"
        )
