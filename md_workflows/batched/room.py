"""What goes into one model call, decided once: so that a run that goes on puts the same structures together again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms

from md_workflows.attached import check_usable
from md_workflows.batched.fleet import DOUBLE, fleet_of
from md_workflows.batched.models import GraphModel
from md_workflows.batched.verlet import StructuresFailedError

MEASURED_CALLS = 60
"""At most, to find out how much goes into one."""


def measure_room(model: GraphModel, structures: Sequence[Atoms]) -> None:
    """Let a model compute as many of these structures at a time as it takes to know how many pay.

    Those that cannot be computed are passed over. Nothing is measured where all fit into the smallest room.
    """
    known = [atoms for atoms in structures if _can(model, atoms)]
    costs = np.cumsum([model.cost(atoms) for atoms in known])
    for _ in range(MEASURED_CALLS):
        if model.sizer.settled or not known or costs[-1] <= model.sizer.budget:
            break
        some = known[: int(np.searchsorted(costs, model.sizer.budget)) + 1]
        try:
            fleet = fleet_of(some, range(len(some)), model.device)
            fleet.graph["cost"] = torch.tensor([model.cost(atoms) for atoms in some], dtype=DOUBLE, device=model.device)
            model.compute(fleet)
        except StructuresFailedError as failure:
            known = [atoms for row, atoms in enumerate(known) if row not in failure.reasons]
            costs = np.cumsum([model.cost(atoms) for atoms in known])
    model.forget()


def _can(model: GraphModel, atoms: Atoms) -> bool:
    try:
        check_usable(atoms)
        model.check(atoms)
    except ValueError:
        return False
    return True
