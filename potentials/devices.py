"""Which device computes."""

from __future__ import annotations

from collections.abc import Callable

import torch

COUNTS: dict[str, Callable[[], int]] = {
    "cuda": torch.cuda.device_count,
    "xpu": torch.xpu.device_count,
}
"""How many GPUs of each kind there are. Apple's (mps) have no float64, in which energies are summed."""


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
    if chosen.type == "cpu":
        return chosen
    if chosen.type not in COUNTS:
        raise ValueError(f"device {str(device)!r} is not one that computes here; use 'auto', 'cpu' or 'cuda'")
    count = COUNTS[chosen.type]()
    if (chosen.index or 0) >= count:
        raise ValueError(
            f"device {str(device)!r} was asked for, but torch sees {count} GPUs of that kind; use 'cpu' or 'auto'"
        )
    return chosen
