"""Which device computes."""

from __future__ import annotations

import torch


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
