"""Derived structures of many structures in one stream through an engine, and back to those they were derived from."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

from ase import Atoms
from pydantic import Field

from md_workflows.attached import check_usable
from md_workflows.engine import Engine, Outcome
from md_workflows.properties.base import Measured
from md_workflows.relaxation import RelaxResult, RelaxSettings, StopReason
from md_workflows.settings import Settings
from md_workflows.structures import one_line

EVALUATE = RelaxSettings(max_steps=0)
"""Energies, forces and stress of structures as they are."""


class IonSettings(Settings):
    """How atoms follow a strained cell.

    relax_ions: relax the atoms in each cell, else they follow it (clamped ions) · fmax: eV/Å and max_steps of these
    relaxations.
    """

    relax_ions: bool = True
    fmax: Annotated[float, Field(gt=0)] = 0.01
    max_steps: Annotated[int, Field(gt=0)] = 500

    @property
    def relaxation(self) -> RelaxSettings:
        """What the engine is asked for."""
        if not self.relax_ions:
            return EVALUATE
        return RelaxSettings(optimizer="lbfgs", fmax=self.fmax, max_steps=self.max_steps)


@dataclass(frozen=True)
class Derived:
    """What has to be computed for one structure.

    structures: in an order that `conclude` knows · context: what else it needs (strains, labels, ...).
    """

    structures: Sequence[Atoms]
    context: Any = None


Done: TypeAlias = RelaxResult | str
"""A result, or in one line why there is none."""


@dataclass
class Computed:
    """What came back for one structure. done: in the order of `Derived.structures` · context: as it was given."""

    atoms: Atoms
    context: Any = None
    done: list[Done] = field(default_factory=list)
    error: str = ""

    def results(self) -> list[RelaxResult]:
        """All results, for properties that need each of them.

        Raises:
            ValueError: one failed, with how many, and the first one's reason.
        """
        good = [result for result in self.done if isinstance(result, RelaxResult)]
        if len(good) < len(self.done):
            raise ValueError(self.failures())
        return good

    def failures(self) -> str:
        """How many calculations failed and why the first did; empty when all went well."""
        bad = [reason for reason in self.done if isinstance(reason, str)]
        return f"{len(bad)} of {len(self.done)} calculations failed, the first: {bad[0]}" if bad else ""


def measure_each(
    structures: Sequence[Atoms],
    engine: Engine,
    derive: Callable[[Atoms], Derived],
    conclude: Callable[[Computed], Measured],
    settings: RelaxSettings = EVALUATE,
) -> list[Measured]:
    """Derive structures of each structure, compute all of them in one stream, conclude for each.

    Structures are derived when the engine has room for them. An exception of `derive` or `conclude` is the error of
    its structure.
    """
    groups: list[Computed] = []
    owners: list[tuple[int, int]] = []

    def stream() -> Iterator[Atoms]:
        for number, atoms in enumerate(structures):
            group = Computed(atoms)
            groups.append(group)
            try:
                check_usable(atoms)  # of a cell that is not finite spglib would not raise, but end the process
                derived = derive(atoms)
            except Exception as failure:
                group.error = reason_of(failure)
                continue
            group.context = derived.context
            group.done = ["no outcome came back"] * len(derived.structures)
            for place, item in enumerate(derived.structures):
                owners.append((number, place))
                yield item

    for outcome in engine.relax_many(stream(), settings):
        number, place = owners[outcome.index]
        groups[number].done[place] = done_of(outcome, settings)
    return [_conclude(group, conclude) for group in groups]


def done_of(outcome: Outcome, settings: RelaxSettings) -> Done:
    """The result, or why it cannot be used: an exception, numbers not finite, a relaxation that did not end."""
    result = outcome.result
    if result is None:
        return outcome.error
    if result.reason is StopReason.NON_FINITE or not math.isfinite(result.energy):
        return "energy or forces are not finite numbers"
    if settings.max_steps and not result.converged:
        return f"not relaxed after {result.steps} steps, largest force {result.fmax:.3g} eV/Å"
    return result


def reason_of(failure: Exception) -> str:
    """An exception in one line; a ValueError is a sentence of its own."""
    return " ".join(str(failure).split()) if type(failure) is ValueError else one_line(failure)


def _conclude(group: Computed, conclude: Callable[[Computed], Measured]) -> Measured:
    if group.error:
        return Measured(error=group.error)
    try:
        return conclude(group)
    except Exception as failure:
        return Measured(error=reason_of(failure))
