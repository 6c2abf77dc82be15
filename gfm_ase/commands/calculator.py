"""The calculator that commands drive: one place where a checkpoint becomes an ASE calculator."""

from pathlib import Path
from typing import Any


def build_calculator(checkpoint: Path, head: str | None, device: str, dtype: str | None, compiled: bool) -> Any:
    """The checkpoint's `GFMCalculator`; raises ValueError for what it cannot load or do not know."""
    from gfm_ase.calculator import GFMCalculator

    calculator = GFMCalculator(checkpoint, head=head, device=device, dtype=dtype, compile=compiled)
    if "forces" not in calculator.implemented_properties:
        raise ValueError(calculator.without_energies())
    return calculator
