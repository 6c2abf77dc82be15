"""A band of images between two minima: interpolation, and the forces that pull it onto the path of least energy."""

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.geometry import find_mic
from ase.mep import NEB
from numpy.typing import NDArray

_SAME_CELL_A = 1e-6
_NO_WAY_A = 1e-3


def check_ends(initial: Atoms, final: Atoms) -> None:
    """Raise ValueError when no band can lead from one to the other."""
    if list(initial.numbers) != list(final.numbers):
        raise ValueError(
            "initial and final structure differ in their elements or in the order of their atoms; give the same atoms "
            "in the same order."
        )
    if (initial.pbc != final.pbc).any() or np.abs(initial.cell.array - final.cell.array).max() > _SAME_CELL_A:
        raise ValueError("initial and final structure differ in cell or pbc; a band needs the same in both.")
    for atoms in (initial, final):
        others = [type(constraint).__name__ for constraint in atoms.constraints if not isinstance(constraint, FixAtoms)]
        if others:
            raise ValueError(f"bands keep FixAtoms alone; take {', '.join(others)} off the structures.")
    if fixed_atoms(initial) != fixed_atoms(final):
        raise ValueError("initial and final structure fix different atoms; fix the same in both.")


def fixed_atoms(atoms: Atoms) -> list[int]:
    """The atoms that stay, sorted."""
    return sorted({int(index) for constraint in atoms.constraints for index in constraint.get_indices()})


def interpolated(initial: Atoms, final: Atoms, images: int, method: str) -> list[Atoms]:
    """Both ends and `images` structures between them, on the shortest way through periodic boundaries.

    method: "linear", or "idpp" (S. Smidstrup et al., J. Chem. Phys. 140, 214106 (2014)), by ASE.

    Raises:
        ValueError: both ends are the same, or an atom that is fixed is not at the same place in both.
    """
    way, _ = find_mic(final.positions - initial.positions, initial.cell, initial.pbc)
    if np.linalg.norm(way) < _NO_WAY_A:
        raise ValueError("initial and final structure are the same, so there is no way between them.")
    fixed = fixed_atoms(initial)
    if fixed and np.abs(way[fixed]).max() > _NO_WAY_A:
        raise ValueError("an atom that is fixed is not at the same place in initial and final structure.")
    band = [initial.copy() for _ in range(images + 2)]
    band[-1].set_positions(initial.positions + way, apply_constraint=False)
    path = NEB(band, method="improvedtangent")  # the method matters not here, but has to be named
    path.interpolate(apply_constraint=False)
    if method == "idpp":
        path.interpolate(method="idpp", mic=bool(initial.pbc.any()), apply_constraint=False)
    for image in band[1:-1]:
        image.positions[fixed] = initial.positions[fixed]
    return band


def band_forces(
    positions_PN3: NDArray[np.float64],
    energies_P: NDArray[np.float64],
    forces_MN3: NDArray[np.float64],
    spring: float,
    climb: bool,
) -> NDArray[np.float64]:
    """Forces [M,N,3] on the M = P - 2 images between the ends: true ones across the path, springs along it.

    spring: eV/Å² · climb: the highest image has no spring and its force along the path turned round.
    Improved tangents: G. Henkelman and H. Jónsson, J. Chem. Phys. 113, 9978 (2000); climbing: G. Henkelman, B. P.
    Uberuaga and H. Jónsson, J. Chem. Phys. 113, 9901 (2000).
    """
    steps = np.diff(positions_PN3, axis=0)
    lengths = np.linalg.norm(steps.reshape(len(steps), -1), axis=1)
    top = int(np.argmax(energies_P[1:-1]))
    forces = np.empty_like(forces_MN3)
    for image, true in enumerate(forces_MN3):
        tangent = _tangent(steps[image], steps[image + 1], energies_P[image : image + 3])
        along = float(np.vdot(true, tangent))
        if climb and image == top:
            forces[image] = true - 2 * along * tangent
        else:
            forces[image] = true - along * tangent + spring * (lengths[image + 1] - lengths[image]) * tangent
    return forces


def _tangent(
    before: NDArray[np.float64], after: NDArray[np.float64], energies_3: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Unit tangent at an image: towards the higher neighbour, a mixture at extrema."""
    low, here, high = energies_3
    if high > here > low:
        tangent = after
    elif high < here < low:
        tangent = before
    else:
        larger, smaller = max(abs(high - here), abs(low - here)), min(abs(high - here), abs(low - here))
        tangent = after * larger + before * smaller if high > low else after * smaller + before * larger
    norm = np.linalg.norm(tangent)
    if norm == 0:  # equal energies all along
        tangent, norm = after + before, np.linalg.norm(after + before)
    return np.asarray(tangent / norm)
