"""`load`: a potential from its file, ready to compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from potentials.checkpoint import load_checkpoint
from potentials.devices import choose_device
from potentials.ensemble import AnyPotential
from potentials.exported import Exported, load_export
from potentials.manifest import DTYPES, Manifest
from potentials.models.registry import shipped
from potentials.models.shipped import ShippedModel

__all__ = ["Exported", "Loaded", "choose_dtype", "load", "load_export"]


@dataclass(frozen=True)
class Loaded:
    """A potential or an ensemble, what its file says of it, and which of the package's own models it is, if one."""

    potential: AnyPotential
    manifest: Manifest
    model: ShippedModel | None = None


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
        checkpoint: a file that `gfm-ase train` wrote, or the name of a model that comes with the package, "gfm1".
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", ...
        dtype: "float32", "float64" or None, the one it was trained in. Energies are summed in float64 in any case.

    Raises:
        CheckpointError: the file is not a whole, unchanged checkpoint.
        ValueError: no such device or dtype.
    """
    where = choose_device(device)
    potential, manifest = load_checkpoint(checkpoint)
    return Loaded(potential.to(where, choose_dtype(dtype, manifest.dtype)), manifest, shipped(checkpoint))
