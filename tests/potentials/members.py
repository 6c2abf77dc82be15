"""Members of ensembles, and by hand what they give together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch import Tensor

from potentials.backbones import BACKBONES
from potentials.ensemble import Ensemble
from potentials.graph import AtomicGraph
from potentials.potential import Potential, PotentialConfig
from potentials.structures import graph_from_atoms

CUTOFF = 4.0
ROUNDING = {torch.float32: 2e-5, torch.float64: 1e-12}
"""Part of the largest value: two orders of the sums of a network of some 100 operations, see `Tolerances`."""


def build(name: str = "painn", seed: int = 0, *, cutoff: float = CUTOFF, width: int = 8, **settings: Any) -> Potential:
    backbone = BACKBONES[name][0](cutoff=cutoff, width=width, depth=2, radial_size=6)
    values = {"backbone": backbone, "heads": ("emt", "xtb"), "head_width": 8, **settings}
    made = Potential(PotentialConfig.model_validate(values), seed=seed)
    for number, head in enumerate(made.heads):  # of one head other numbers in each member
        e0 = dict.fromkeys(("H", "C", "O", "Al", "Cu"), -0.3 * number - 0.1 * seed)
        made.references.set_head(head, e0, scale=1.0 + 0.5 * seed, shift=0.05 * seed)
    return made


@cache
def trio(name: str = "painn", dtype: torch.dtype = torch.float32) -> tuple[Potential, ...]:
    return tuple(build(name, seed).to(dtype) for seed in range(3))


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[0] = 13
    atoms.rattle(0.1, seed=1)
    return atoms


def graphs(cutoff: float = CUTOFF, row: int = 0) -> list[AtomicGraph]:
    return [graph_from_atoms(atoms, cutoff, dataset=row) for atoms in (crystal(), molecule("CH3OH"))]


def looped(members: Sequence[Potential], graphs_of: Sequence[AtomicGraph]) -> dict[str, np.ndarray]:
    """[M, ...] of each member, asked alone; a graph for each, or one for all."""
    with torch.no_grad():
        rows = [member(graph) for member, graph in zip(members, graphs_of, strict=True)]
    return {name: torch.stack([row[name] for row in rows]).numpy() for name in rows[0] if name in KNOWN}


KNOWN = ("energy", "energies", "forces", "virial", "stress", "charges")


def spread(of_members: dict[str, np.ndarray], graph: AtomicGraph) -> dict[str, np.ndarray]:
    """By hand: standard deviations of a sample, of forces and stress those of a component."""
    forces = np.sqrt((of_members["forces"].std(0, ddof=1) ** 2).mean(1))
    stress = of_members["stress"].std(0, ddof=1)
    voigt = np.stack([stress[:, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], axis=1)
    owner = graph.graph_index.numpy()
    return {
        **{name: value.mean(0) for name, value in of_members.items()},
        "energy_uncertainty": of_members["energy"].std(0, ddof=1),
        "forces_uncertainty": forces,
        "stress_uncertainty": np.sqrt((voigt**2).mean(1)),
        "uncertainty": np.array([forces[owner == row].max(initial=0.0) for row in range(graph.n_graphs)]),
    }


def require(found: dict[str, Tensor], wanted: dict[str, np.ndarray], part: float) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == torch.float64, name
        bound = part * max(1.0, float(np.nan_to_num(np.abs(value)).max(initial=0.0)))
        np.testing.assert_allclose(found[name].numpy(), value, rtol=0, atol=bound, err_msg=name)


def require_as_loop(members: Sequence[Potential], ensemble: Ensemble, graph: AtomicGraph, part: float) -> None:
    require(ensemble(graph), spread(looped(members, [graph] * len(members)), graph), part)
