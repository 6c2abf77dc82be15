"""Energies that others are measured against: of elements, or of known compounds, by the user's file."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from ase import Atoms
from ase.data import atomic_numbers
from ase.formula import Formula
from pydantic import Field, model_validator

from md_workflows.cell import CellSettings
from md_workflows.engine import Engine
from md_workflows.properties.stream import EVALUATE, Done, done_of
from md_workflows.relaxation import RelaxSettings
from md_workflows.settings import Settings
from md_workflows.structures import Unreadable, read_structures


class ReferenceSettings(Settings):
    """Where reference energies come from.

    references: a file of structures that ASE reads, computed with the same engine (of several structures of one
    formula the lowest counts), or a .json of energies in eV/atom by formula, ``{"Cu": -3.7, "Au": -3.2}`` ·
    relax_references: relax the structures, with their cells where they are periodic in three directions ·
    reference_fmax: eV/Å, and reference_max_steps, of these relaxations · reference_energies: eV/atom by formula, in
    the place of a file; `prepare` fills it · reference_errors: formula to the reason why its energy is not there.
    """

    references: Path | None = None
    relax_references: bool = True
    reference_fmax: Annotated[float, Field(gt=0)] = 0.02
    reference_max_steps: Annotated[int, Field(gt=0)] = 500
    reference_energies: dict[str, float] | None = None
    reference_errors: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> "ReferenceSettings":
        if self.references is not None and self.reference_energies is not None:
            raise ValueError("references and reference_energies are two sources of the same; give one of them")
        return self


R = TypeVar("R", bound=ReferenceSettings)


def prepare_references(engine: Engine, settings: R) -> R:
    """The settings with energies in the place of a file; a structure that fails is noted in `reference_errors`.

    Raises:
        ValueError: the file is missing or unreadable, or all of its structures fail.
    """
    path = settings.references
    if path is None:
        return settings
    if not path.is_file():
        raise ValueError(f"references {path}: no such file.")
    energies, errors = _from_json(path) if path.suffix == ".json" else _from_structures(path, engine, settings)
    return settings.model_copy(update={"references": None, "reference_energies": energies, "reference_errors": errors})


def formula_key(formula: str | Formula) -> str:
    """The reduced formula by which energies are filed: Au4Cu4 and CuAu are both AuCu.

    Raises:
        ValueError: it is no formula of elements.
    """
    reduced = Formula(str(formula)).reduce()[0]
    unknown = [symbol for symbol in reduced.count() if symbol not in atomic_numbers]
    if unknown or not len(reduced):
        raise ValueError(f"'{formula}' is no formula of elements.")
    return str(reduced.convert("hill"))


def formation_energy(atoms: Atoms, energy: float, settings: ReferenceSettings) -> float:
    """Energy (eV) of `atoms` less that of their elements, per atom.

    Raises:
        ValueError: an element without a reference energy.
    """
    counts = Counter(atoms.get_chemical_symbols())
    elements = sum(number * element_energy(symbol, settings) for symbol, number in counts.items())
    return (energy - elements) / len(atoms)


def element_energy(symbol: str, settings: ReferenceSettings) -> float:
    """Energy of the element in eV/atom; raises ValueError where there is none, with the reason."""
    energies = settings.reference_energies or {}
    if symbol in energies:
        return energies[symbol]
    if symbol in settings.reference_errors:
        raise ValueError(f"the reference of {symbol} failed: {settings.reference_errors[symbol]}")
    known = ", ".join(sorted(energies)) or "none"
    raise ValueError(f"there is no reference energy of {symbol}; there are {known}. Name a file in references.")


def _from_json(path: Path) -> tuple[dict[str, float], dict[str, str]]:
    wanted = f'{path} has to hold energies in eV/atom by formula, as in {{"Cu": -3.7}}'
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{wanted}, and is no JSON ({error}).") from None
    if not isinstance(content, Mapping) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in content.values()
    ):
        raise ValueError(f"{wanted}.")
    energies: dict[str, float] = {}
    for formula, energy in content.items():
        try:
            key = formula_key(formula)
        except ValueError:
            raise ValueError(f"{wanted}; '{formula}' is no formula.") from None
        energies[key] = min(float(energy), energies.get(key, float("inf")))
    return energies, {}


def _from_structures(
    path: Path, engine: Engine, settings: ReferenceSettings
) -> tuple[dict[str, float], dict[str, str]]:
    frames = [_readable(structure) for _, structure in read_structures([path])]
    energies: dict[str, float] = {}
    errors: dict[str, str] = {}
    for atoms, done in zip(frames, _computed(frames, engine, settings), strict=True):
        key = formula_key(atoms.symbols.formula)
        if isinstance(done, str):
            errors.setdefault(key, done)
        else:
            energies[key] = min(done.energy / len(atoms), energies.get(key, float("inf")))
    if not energies:
        reason = next(iter(errors.items()), ("", "it holds no structures"))
        raise ValueError(f"references {path}: none could be computed; {': '.join(part for part in reason if part)}.")
    return energies, {key: reason for key, reason in errors.items() if key not in energies}


def _readable(structure: Atoms | Unreadable) -> Atoms:
    if isinstance(structure, Unreadable):
        raise ValueError(f"the references cannot be read: {structure.error}")
    return structure


def _computed(frames: list[Atoms], engine: Engine, settings: ReferenceSettings) -> list[Done]:
    """Energies of the frames in two streams: those with a cell to relax, and the others."""
    done: list[Done] = ["no outcome came back"] * len(frames)
    for with_cell in (True, False):
        chosen = [number for number, atoms in enumerate(frames) if bool(atoms.pbc.all()) is with_cell]
        relaxation = (
            RelaxSettings(
                optimizer="lbfgs",
                fmax=settings.reference_fmax,
                max_steps=settings.reference_max_steps,
                cell=CellSettings() if with_cell else None,
            )
            if settings.relax_references
            else EVALUATE
        )
        if not chosen:
            continue
        for outcome in engine.relax_many(_pick(frames, chosen), relaxation):
            done[chosen[outcome.index]] = done_of(outcome, relaxation)
    return done


def _pick(frames: list[Atoms], chosen: Iterable[int]) -> Iterator[Atoms]:
    return (frames[number] for number in chosen)
