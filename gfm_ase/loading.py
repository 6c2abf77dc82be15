"""`load`: a potential from its file, ready to compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from potentials.checkpoint import load_checkpoint
from potentials.manifest import DTYPES, Manifest
from potentials.potential import Potential


@dataclass(frozen=True)
class Loaded:
    """A potential and what its file says of it."""

    potential: Potential
    manifest: Manifest


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device meant: ``"auto"`` is a GPU where there is one.

    Raises:
        ValueError: no such device here; the message names what there is.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r} is not a device name; use 'auto', 'cpu' or 'cuda'") from None
    count = torch.cuda.device_count() if chosen.type == "cuda" else 0
    if chosen.type == "cuda" and (not torch.cuda.is_available() or (chosen.index or 0) >= count):
        raise ValueError(f"device {str(device)!r} was asked for, but torch sees {count} GPUs; use 'cpu' or 'auto'")
    return chosen


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
