"""Labels of outputs beyond energy, forces and stress, in the unit of the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from potentials.quantities import Quantity
from potentials.structures import structure_state
from train.config_dataset import DatasetConfig
from train.sieve import BadFrameError

Floats = NDArray[np.float64]

CHARGE_MISSING = 0.05
"""e: by how much charges of atoms may fail to add up to the charge of the structure, from rounding or integration."""


def labelled(outputs: Sequence[Quantity]) -> list[Quantity]:
    """Those with a label of their own; direct forces learn from the forces."""
    return [row for row in outputs if row.label is None]


def output_labels(atoms: Atoms, config: DatasetConfig, outputs: Sequence[Quantity]) -> dict[str, Floats]:
    """Labels by output, those that the frame has: [] or [3] of a structure, [N] or [N, 3] of atoms.

    Raises:
        BadFrameError: a label that is no finite number or of a wrong shape, charges that do not add up to the charge of
            the structure, the dipole of a periodic one.
    """
    found = {}
    for row in labelled(outputs):
        value = _finite(find(atoms, config.label(row.name).key or row.name), row.name)
        if value is not None:
            found[row.name] = _checked(value * config.label_factor(row.name), row, atoms, config)
    return found


def labels_there(atoms: Atoms, config: DatasetConfig, outputs: Sequence[Quantity]) -> list[str]:
    """Names of the outputs that a frame has a label of."""
    rows = labelled(outputs)
    return [row.name for row in rows if find(atoms, config.label(row.name).key or row.name) is not None]


def find(atoms: Atoms, key: str) -> Any:
    """What stands under a key, wherever it is: ASE's readers move standard names into the calculator."""
    for place in (atoms.info, atoms.arrays, getattr(atoms.calc, "results", {})):
        if key in place:
            return place[key]
    return None


def _finite(given: Any, name: str) -> Floats | None:
    if given is None:
        return None
    try:
        value = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadFrameError("bad label", f"{name}: {str(given)[:60]!r} is given; it must be numbers") from None
    if not np.isfinite(value).all():
        raise BadFrameError("bad label", f"{name} holds {value[~np.isfinite(value)].flat[0]}; a label must be finite")
    return value


def _checked(value: Floats, row: Quantity, atoms: Atoms, config: DatasetConfig) -> Floats:
    shape = (len(atoms), *row.shape) if row.level == "atom" else row.shape
    if value.shape != shape and not (value.size == 1 and shape == ()):
        raise BadFrameError(
            "bad label", f"{row.name} has shape {list(value.shape)}; it must be {list(shape) or 'one number'}"
        )
    if row.name == "charges":
        _check_charges(value, structure_state(atoms).charge)
    if row.name == "dipole":
        value = _about_the_middle(value, atoms, config.label(row.name).origin)
    return value.reshape(shape)


def _check_charges(charges: Floats, total: float) -> None:
    if abs(float(charges.sum()) - total) > CHARGE_MISSING:
        raise BadFrameError(
            "bad label",
            f"the charges add up to {charges.sum():.3f} e, but atoms.info['charge'] says {total:g}; write the charge of"
            " the structure there, or take the charges out",
        )


def _about_the_middle(dipole: Floats, atoms: Atoms, origin: str) -> Floats:
    """The dipole about the mean position of the atoms, as `potentials.outputs.Dipole` has it."""
    if atoms.pbc.any():
        raise BadFrameError("bad label", "the frame has a dipole, but it repeats; only molecules have one")
    about = atoms.get_center_of_mass() if origin == "mass" else np.zeros(3)
    moved: Floats = dipole - structure_state(atoms).charge * (atoms.positions.mean(axis=0) - about)
    return moved
