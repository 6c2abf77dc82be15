"""From a potential to what answers for it, and from what it computes to the results of an ASE calculator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from gfm_ase.uncertain import Evaluate
from potentials.ensemble import AnyPotential
from potentials.exported import Exported
from potentials.graph import AtomicGraph
from potentials.quantities import VOIGT, Quantity


def without_gradients(potential: AnyPotential, *, derivatives: bool = True) -> Evaluate:
    """The potential as a function of graphs alone; without `derivatives` there are no exact forces and no stress."""

    def evaluate(graph: AtomicGraph) -> dict[str, Tensor]:
        with torch.no_grad():
            results: dict[str, Tensor] = potential(graph, derivatives=derivatives)
        return results

    return evaluate


def of_export(exported: Exported, head: str) -> Evaluate:
    """The program of an exported potential as a function of graphs, answering by a head."""
    row = exported.potential.head_index(head)

    def evaluate(graph: AtomicGraph) -> dict[str, Tensor]:
        return exported.evaluate(replace(graph, dataset=torch.full_like(graph.dataset, row)))

    return evaluate


def tables_of(potential: AnyPotential, tabulate: bool | None) -> AnyPotential | None:
    """The potential with its radial functions as tables; none where it has none, or they are not asked for.

    Args:
        potential: that answers.
        tabulate: as of `GFMCalculator`.

    Raises:
        ValueError: tables are asked for by True, and cannot be had.
    """
    if tabulate is False:
        return None
    try:
        tables = potential.tabulated()
    except ValueError:
        if tabulate:
            raise
        return None
    if tables is None and tabulate:
        name = potential.config.backbone.name
        raise ValueError(f"tabulate=True, but the backbone {name!r} has no radial functions to tabulate; leave it out")
    return tables


def results_of(
    computed: Mapping[str, Tensor], atoms: Atoms, outputs: Mapping[str, Quantity], *, energies: bool, direct: bool
) -> dict[str, Any]:
    """What ASE knows by the names it has for it, of one structure.

    Args:
        computed: by the potential.
        atoms: the structure.
        outputs: that its head has learnt.
        energies: whether it has learnt energies.
        direct: whether the output direct_forces stands for the forces.
    """
    results: dict[str, Any] = {}
    if energies:
        results["energy"] = results["free_energy"] = float(computed["energy"][0])
        results["energies"] = computed["energies"].cpu().numpy()
        results["forces"] = computed["direct_forces" if direct else "forces"].cpu().numpy()
    for name, row in outputs.items():
        value = (computed[name] if row.level == "atom" else computed[name][0]).cpu().numpy()
        if not (name == "dipole" and atoms.pbc.any()):
            results[name] = value if value.ndim else float(value)
    if atoms.pbc.any() and energies and not direct:
        stress = computed["stress"][0].cpu().numpy()
        if np.isfinite(stress).all():
            results["stress"] = np.array([stress[row, column] for row, column in VOIGT])
    return results
