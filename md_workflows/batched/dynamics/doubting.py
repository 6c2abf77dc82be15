"""The uncertainty of a fleet in motion: who has to stop, whose frames are marked, who is kept for labelling."""

from __future__ import annotations

from collections.abc import Container, Sequence

import torch
from ase.data import chemical_symbols
from torch import Tensor

from md_workflows.batched.fleet import DOUBLE, Fleet
from md_workflows.batched.models import Model
from md_workflows.md_doubt import Doubts
from md_workflows.uncertainty import MARK, UncertaintyPolicy

COUNTS = ("doubt_above", "doubt_kept", "doubt_last")
"""Columns [G] of whole numbers: steps above the limit, candidates, and the step of the last one (-1: none)."""


class Doubting:
    """Looks at the uncertainty after every step; all that it remembers is columns.

    Args:
        policies: of each structure, by its key; None looks at nothing.
        model: has the uncertainty among its outputs.
        name: what the model is called in messages.

    Raises:
        NoUncertaintyError: an uncertainty is asked for that the model does not give.
        ValueError: several outputs are asked for.
    """

    def __init__(self, policies: Sequence[UncertaintyPolicy | None], model: Model, name: str) -> None:
        self._policies = policies
        asked = [one for one in policies if one is not None]
        for one in asked:
            one.check_known(model.outputs, name)
        outputs = sorted({one.output for one in asked})
        if len(outputs) > 1:
            raise ValueError(f"limits are set on {' and '.join(outputs)}; a call looks at one uncertainty.")
        self.on = bool(asked)
        self._output = outputs[0] if outputs else ""

    def columns(self, fleet: Fleet) -> None:
        """Add limits and counts."""
        if not self.on:
            return
        policies = [self._policies[key] for key in fleet.keys]
        limits = [float("nan") if one is None else one.limit for one in policies]
        fleet.graph["doubt_limit"] = torch.tensor(limits, dtype=DOUBLE, device=fleet.device)
        fleet.graph["doubt_largest"] = torch.zeros_like(fleet.graph["energy"])
        fleet.graph.update({name: torch.zeros_like(fleet.graph["count"]) for name in COUNTS})
        fleet.graph["doubt_last"] -= 1
        fleet.graph[MARK] = torch.zeros_like(fleet.graph["pbc"][:, 0])

    def look(self, fleet: Fleet, stopping: Container[int]) -> tuple[dict[int, str], list[int]]:
        """The reason for each row that has to stop, and the rows whose structures are to be kept.

        stopping: rows that stop for other reasons, and have left physics.
        """
        if not self.on:
            return {}, []
        value, limit = fleet.graph[self._output], fleet.graph["doubt_limit"]
        above = ~((value <= limit) | torch.isnan(limit))  # so that NaN is above
        fleet.graph[MARK].copy_(above)
        fleet.graph["doubt_above"] += above
        torch.fmax(fleet.graph["doubt_largest"], value, out=fleet.graph["doubt_largest"])
        rows = [row for row in above.nonzero()[:, 0].tolist() if row not in stopping]
        return self._decide(fleet, rows) if rows else ({}, [])

    def _decide(self, fleet: Fleet, rows: Sequence[int]) -> tuple[dict[int, str], list[int]]:
        reasons, keep = {}, []
        for row in rows:
            policy = self._policies[int(fleet.graph["key"][row])]
            assert policy is not None
            if policy.action == "stop":
                reasons[row] = self._reason(policy, fleet, row)
            if policy.action == "keep" and self._due(policy, fleet, row):
                fleet.graph["doubt_last"][row] = fleet.graph["step"][row]
                keep.append(row)
            elif policy.action == "stop" and policy.candidates is not None:
                keep.append(row)
        fleet.graph["doubt_kept"][keep] += 1
        return reasons, keep

    @staticmethod
    def _due(policy: UncertaintyPolicy, fleet: Fleet, row: int) -> bool:
        last, step = int(fleet.graph["doubt_last"][row]), int(fleet.graph["step"][row])
        return int(fleet.graph["doubt_kept"][row]) < policy.most and (last < 0 or step - last >= policy.interval)

    def _reason(self, policy: UncertaintyPolicy, fleet: Fleet, row: int) -> str:
        alone = fleet.part(row, row + 1)
        of_atoms: Tensor | None = alone.atom.get("forces_uncertainty")
        symbols = [chemical_symbols[number] for number in alone.atom["numbers"].tolist()]
        each = None if of_atoms is None else of_atoms.cpu().numpy()
        return policy.said(float(alone.graph[self._output][0]), each, symbols)

    @staticmethod
    def found(alone: Fleet) -> Doubts | None:
        """What was seen of the one structure of a fleet; None where nothing was looked at."""
        if "doubt_limit" not in alone.graph or bool(torch.isnan(alone.graph["doubt_limit"][0])):
            return None
        above, kept, _ = (int(alone.graph[name][0]) for name in COUNTS)
        return Doubts(above, kept, float(alone.graph["doubt_largest"][0]))
