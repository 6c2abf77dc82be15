"""What of the cell is relaxed, and whether a structure allows it."""

from typing import Any

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from pydantic import model_validator

from md_workflows.settings import Settings

VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")
Mask = tuple[bool, bool, bool, bool, bool, bool]

_AXES = ((0,), (1,), (2,), (1, 2), (0, 2), (0, 1))  # which Cartesian axes a Voigt component touches
_ALIGNED = 1e-8  # relative: how far an open cell vector may lean from its axis


class CellSettings(Settings):
    """Which strains of the cell are relaxed, at which pressure.

    mask: Voigt order xx, yy, zz, yz, xz, xy, True where the cell may strain · hydrostatic: only the volume ·
    constant_volume: only the shape · pressure_GPa: the outer pressure, positive compresses.
    """

    mask: Mask = (True,) * 6
    hydrostatic: bool = False
    constant_volume: bool = False
    pressure_GPa: float = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> "CellSettings":
        if self.hydrostatic and self.constant_volume:
            raise ValueError("hydrostatic and constant_volume leave nothing of the cell to relax; choose one")
        if self.constant_volume and self.pressure_GPa != 0.0:
            raise ValueError("a pressure does nothing at constant volume; give one of them")
        if not all(self.mask) and (self.hydrostatic or self.constant_volume):
            raise ValueError("a mask cannot go with hydrostatic or constant_volume; give one of them")
        if not any(self.mask):
            raise ValueError("the mask frees no strain; leave the cell settings out to keep the cell fixed")
        return self


def cell_filter(atoms: Atoms, settings: CellSettings) -> Any:
    """ASE's FrechetCellFilter for `settings` around `atoms` (which it will change in place).

    Raises:
        ValueError: the structure is not periodic, its calculator gives no stress, or a strain would
            stretch an open direction.
    """
    calculator = atoms.calc
    check_cell(atoms, settings, has_stress(calculator), type(calculator).__name__)
    return FrechetCellFilter(
        atoms,
        mask=np.array(settings.mask),
        hydrostatic_strain=settings.hydrostatic,
        constant_volume=settings.constant_volume,
        scalar_pressure=settings.pressure_GPa * units.GPa,
    )


def has_stress(calculator: Any) -> bool:
    """Whether an ASE calculator gives stresses."""
    return "stress" in getattr(calculator, "implemented_properties", ())


def check_cell(atoms: Atoms, settings: CellSettings, stress: bool, name: str) -> None:
    """Raise ValueError when `settings` make no sense for `atoms`, or for what computes (called `name`)."""
    if not atoms.pbc.any():
        raise ValueError("the structure is not periodic, so its cell cannot be relaxed; keep the cell fixed.")
    if atoms.cell.rank < 3:
        raise ValueError(
            "the structure has a zero cell vector, so no stress is defined; give the open direction a length "
            "(vacuum) or relax with a fixed cell."
        )
    if not stress:
        raise ValueError(
            f"relaxing the cell needs the stress, which {name} does not give; use another calculator or a fixed cell."
        )
    if not atoms.pbc.all():
        _check_open(atoms, settings)


def _check_open(atoms: Atoms, settings: CellSettings) -> None:
    """A slab or wire: strains must leave the open directions alone, and there is no pressure in a vacuum."""
    if settings.hydrostatic or settings.constant_volume or settings.pressure_GPa != 0.0:
        raise ValueError(
            f"with pbc {atoms.pbc.tolist()} the volume holds vacuum: hydrostatic, constant_volume and "
            "pressure_GPa have no meaning; use a mask."
        )
    open_axes = {_axis_of(atoms, int(vector)) for vector in np.flatnonzero(~atoms.pbc)}
    touched = [bool(open_axes.intersection(axes)) for axes in _AXES]
    wrong = [name for name, on, bad in zip(VOIGT, settings.mask, touched, strict=True) if on and bad]
    if wrong:
        allowed = tuple(not bad for bad in touched)
        raise ValueError(
            f"with pbc {atoms.pbc.tolist()} the strains {', '.join(wrong)} would stretch an open direction; "
            f"use mask={allowed} (order {', '.join(VOIGT)})."
        )


def _axis_of(atoms: Atoms, vector: int) -> int:
    """The Cartesian axis along which the open cell vector lies, and to which the periodic ones are normal."""
    cell = atoms.cell.array
    axis = int(np.argmax(np.abs(cell[vector])))
    scale = np.abs(cell).max()
    leaning = np.abs(np.delete(cell[vector], axis)).max()
    tilted = np.abs(np.delete(cell, vector, axis=0)[:, axis]).max()
    if max(leaning, tilted) > _ALIGNED * scale:
        raise ValueError(
            f"cell vector {'abc'[vector]} is open but not along a Cartesian axis normal to the others; "
            "rotate the structure so that it is (atoms.rotate with rotate_cell=True) before this."
        )
    return axis
