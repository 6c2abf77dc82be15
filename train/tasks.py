"""Tasks: which result is compared with which label, and how an error counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potentials.quantities import QUANTITIES, TRAINABLE, Quantity
from train.config_tables import ForcesTerm, LossConfig, TermConfig

TERMS: dict[str, TermConfig] = {"direct_forces": ForcesTerm()}
"""Terms of outputs that the run file says nothing of, where the default of all is not fitting."""


@dataclass(frozen=True)
class Task:
    """One term of the loss.

    Attributes:
        quantity: its row of the table: level, shape, unit, and the label it is compared with.
        term: penalty and weight.
        per_atom: errors count per atom of the structure: of extensive scalars, as the energy.
    """

    quantity: Quantity
    term: TermConfig

    @property
    def name(self) -> str:
        """Of the result."""
        return self.quantity.name

    @property
    def label(self) -> str:
        """Name of the label."""
        return self.quantity.trained_on

    @property
    def per_atom(self) -> bool:
        """Whether an error is divided by the number of atoms."""
        return self.quantity.level == "graph" and self.quantity.extensive and not self.quantity.shape


def tasks_of(loss: LossConfig, outputs: Sequence[Quantity]) -> tuple[Task, ...]:
    """Energy, forces, stress and the outputs, in this order."""
    base = [Task(QUANTITIES[name], getattr(loss, name)) for name in TRAINABLE]
    return (*base, *(Task(row, loss.outputs.get(row.name, TERMS.get(row.name, TermConfig()))) for row in outputs))
