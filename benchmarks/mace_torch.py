"""mace-torch (MIT licence) as a peer: its models of given settings, what they compute, and a step of their training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from mace import data, modules, tools
from mace.modules.models import o3
from mace.tools import torch_geometric
from torch import Tensor


def build(settings: Mapping[str, Any], elements: Sequence[int]) -> torch.nn.Module:
    """A model with random weights; settings are those of our `MACEConfig`."""
    degrees = range(settings["l_hidden"] + 1)
    hidden = "+".join(f"{settings['width']}x{degree}{'oe'[degree % 2 == 0]}" for degree in degrees)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript, which e3nn compiles with
        model: torch.nn.Module = modules.ScaleShiftMACE(
            r_max=settings["cutoff"],
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=settings["l_max"],
            interaction_cls=block,
            interaction_cls_first=block,
            num_interactions=settings["depth"],
            num_elements=len(elements),
            hidden_irreps=o3.Irreps(hidden),
            MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.zeros(len(elements)),
            avg_num_neighbors=settings["average_neighbours"],
            atomic_numbers=list(elements),
            correlation=settings["correlation"],
            gate=torch.nn.functional.silu,
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
    return model.float()


def batch_of(structures: Sequence[Atoms], cutoff: float, elements: Sequence[int]) -> dict[str, Tensor]:
    """Structures and their neighbour lists as a model takes them."""
    table, keys = tools.AtomicNumberTable(list(elements)), data.KeySpecification()
    graphs = [
        data.AtomicData.from_config(data.config_from_atoms(atoms, keys), z_table=table, cutoff=cutoff)
        for atoms in structures
    ]
    batch: dict[str, Tensor] = torch_geometric.Batch.from_data_list(graphs).to_dict()
    return batch


def evaluation(model: torch.nn.Module, batch: dict[str, Tensor]) -> Callable[[], object]:
    """Energy, forces and stress."""
    return lambda: model(batch, compute_force=True, compute_stress=True)


def training(model: torch.nn.Module, batch: dict[str, Tensor], energy: Tensor, forces: Tensor) -> Callable[[], object]:
    """A step of a loss of energies per atom and forces, clipped, by AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    counts = batch["ptr"].diff()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        found = model(batch, training=True, compute_force=True)
        errors = ((found["energy"] - energy) / counts).square().mean(), (found["forces"] - forces).square().mean()
        (errors[0] + errors[1]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    return step
