"""The calculator that commands drive: one place where a checkpoint becomes an ASE calculator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def build_calculator(  # noqa: PLR0917 - options as they come
    checkpoint: Path,
    head: str | None,
    device: str,
    dtype: str | None,
    compiled: bool,
    structures: Sequence[Any] = (),
) -> Any:
    """The checkpoint's `GFMCalculator`, its head chosen: by name, or of several by the structures that it is for.

    Raises:
        ValueError: what it cannot load or does not know; several heads, or none, that fit the structures.
    """
    from gfm_ase.calculator import GFMCalculator

    calculator = GFMCalculator(checkpoint, head=head, device=device, dtype=dtype, compile=compiled)
    if structures:
        calculator.choose_head(structures)
    elif calculator.head is None:
        calculator.heads.required(None)
    if "forces" not in calculator.implemented_properties:
        raise ValueError(calculator.without_energies())
    return calculator
