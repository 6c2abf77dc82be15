"""`load`: a potential from its file, ready to compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from ase import Atoms

from potentials.checkpoint import load_checkpoint
from potentials.devices import choose_device
from potentials.ensemble import AnyPotential
from potentials.exported import Exported, load_export
from potentials.manifest import DTYPES, Manifest
from potentials.references import References

__all__ = ["Exported", "Loaded", "check_elements_known", "choose_dtype", "choose_head", "load", "load_export"]


@dataclass(frozen=True)
class Loaded:
    """A potential or an ensemble, and what its file says of it."""

    potential: AnyPotential
    manifest: Manifest


def choose_dtype(dtype: str | torch.dtype | None, stored: str) -> torch.dtype:
    """The network's dtype meant; None is the one stored.

    Raises:
        ValueError: neither float32 nor float64.
    """
    name = stored if dtype is None else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is not offered; use 'float32', 'float64', or None for the checkpoint's own")
    return DTYPES[name]


def load(
    checkpoint: str | Path, *, device: str | torch.device = "auto", dtype: str | torch.dtype | None = None
) -> Loaded:
    """A potential from its checkpoint file.

    Args:
        checkpoint: a file that `gfm-ase train` wrote.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", ...
        dtype: "float32", "float64" or None, the one it was trained in. Energies are summed in float64 in any case.

    Raises:
        CheckpointError: the file is not a whole, unchanged checkpoint.
        ValueError: no such device or dtype.
    """
    where = choose_device(device)
    potential, manifest = load_checkpoint(checkpoint)
    return Loaded(potential.to(where, choose_dtype(dtype, manifest.dtype)), manifest)


def check_elements_known(atoms: Atoms, references: References, head: str, source: str = "the structure") -> None:
    """Raise ValueError where a head has never seen an element; the message names it and those it knows."""
    known = references.elements(head)
    unknown = sorted(set(atoms.get_chemical_symbols()) - set(known))
    if unknown:
        raise ValueError(
            f"{source}: head {head!r} has never seen {', '.join(unknown)}; it was trained on {', '.join(known)}"
        )


def choose_head(potential: AnyPotential, head: str | None) -> str:
    """The branch meant.

    Raises:
        ValueError: unknown, or left out where there are several; the message names those there are.
    """
    if head is None:
        if len(potential.heads) > 1:
            raise ValueError(
                f"this potential has {len(potential.heads)} heads; choose one: {', '.join(potential.heads)}"
            )
        return potential.heads[0]
    potential.head_index(head)
    return head
