"""Tasks: which result is compared with which label, and how an error counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

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


def with_labels(tasks: Sequence[Task], known: Collection[str]) -> tuple[Task, ...]:
    """The tasks, of weight 0 where nobody has the label: what they are about is then not computed in vain.

    Raises:
        ValueError: no weight is left.
    """
    found = [
        task if task.label in known else replace(task, term=task.term.model_copy(update={"weight": 0.0}))
        for task in tasks
    ]
    if not any(task.term.weight for task in found):
        weighed = ", ".join(task.name for task in tasks if task.term.weight)
        raise ValueError(f"no training structure has a label of {weighed}, and nothing else has a weight in the loss")
    return tuple(found)


def tasks_of(loss: LossConfig, outputs: Sequence[Quantity]) -> tuple[Task, ...]:
    """Energy, forces, stress and the outputs, in this order."""
    base = [Task(QUANTITIES[name], getattr(loss, name)) for name in TRAINABLE]
    return (*base, *(Task(row, loss.outputs.get(row.name, TERMS.get(row.name, TermConfig()))) for row in outputs))
