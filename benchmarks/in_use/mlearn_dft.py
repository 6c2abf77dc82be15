"""What the frames of mlearn (Zuo et al., J. Phys. Chem. A 124 (2020) 731) say of elements, by DFT (PBE, VASP, 520 eV).

Lattice constant, elastic constants and energy of the crystal come from the Elastic frames of the training file, surface
energies from its Surface frames. A model that was trained on them is thereby held to its own training data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.io import read
from numpy.typing import NDArray

STRUCTURES = {"Cu": "fcc", "Li": "bcc", "Mo": "bcc", "Si": "diamond", "Ge": "diamond"}
"""The elements, and in which structure they crystallise."""

SITES = {"fcc": 4, "bcc": 2, "diamond": 8}
"""Atoms in the cubic cell."""

MAX_STRAIN = 0.029
"""Of the frames that the linear fit takes; of copper those of ±1 and ±2 %, so that both signs weigh the same."""

NOTES = {
    "Li": "the stresses of its sheared frames are not linear in the shear, so C44 is left out",
    "Ge": "its Surface frames do not belong to the energy of its crystal: with that they give 0.26 to 0.65 J/m², with"
    " the Materials Project's (-4.623 eV/atom, so likely another pseudopotential) 1.1 for 111",
}
"""What has to be known of the frames of an element."""

README = {
    "Mo": (3.171, 477.0, 160.0, 106.0, 266.0),
    "Cu": (3.617, 170.0, 133.0, 84.0, 145.0),
    "Si": (5.473, 153.0, 56.0, 99.0, 89.0),
    "Ge": (5.788, 109.0, 40.0, 77.0, 63.0),
    "Li": (3.439, 16.0, 14.0, None, 15.0),
}
"""a0 (Å), C11, C12, C44 and B (GPa) as the data set's README gives them from the same frames; Si and Ge clamped."""


@dataclass(frozen=True)
class Crystal:
    """A cubic crystal by DFT.

    a0: Å · energy: eV/atom at a0 · C11, C12, C44: GPa, clamped ions, C44 None without sheared frames · frames: how many
    were fitted · rms: GPa, of the stresses from the fit · energy_spread: eV/atom, standard deviation of the energies
    that single frames give.
    """

    a0: float
    energy: float
    C11: float
    C12: float
    C44: float | None
    frames: int
    rms: float
    energy_spread: float

    @property
    def bulk_modulus(self) -> float:
        """GPa, from C11 and C12."""
        return (self.C11 + 2 * self.C12) / 3


@dataclass(frozen=True)
class Slab:
    """A Surface frame. facet: as in "110", empty where it is none of the low ones · energy: J/m², as labelled."""

    atoms: Atoms
    facet: str
    energy: float


def frames_of(data: Path, element: str, group: str) -> list[Atoms]:
    """The frames of one published group in the training file of an element.

    Raises:
        ValueError: there is no such file.
    """
    path = data / "mlearn" / f"{element}_train.extxyz.gz"
    if not path.is_file():
        raise ValueError(f"{path} is not there; GFM_ASE_DATA or --data has to name the folder that holds mlearn.")
    frames: list[Atoms] = read(path, index=":")
    return [atoms for atoms in frames if atoms.info["config_type"] == group]


def crystal_by_dft(frames: list[Atoms], structure: str) -> Crystal:
    """Stress and energy of strained frames, fitted by linear elasticity of a cubic crystal.

    frames: labelled supercells with cell vectors along the cubic axes; those with any strain over MAX_STRAIN are left
    out · structure: a key of SITES. Strains are Green and Lagrange's, stresses the second of Piola and Kirchhoff's.

    Raises:
        ValueError: fewer than four frames are left.
    """
    volumes = [atoms.get_volume() / len(atoms) * SITES[structure] for atoms in frames]
    a0 = float(np.median(volumes)) ** (1 / 3)
    for _ in range(3):  # until strains are counted from the cell without tension
        reference = a0
        pairs = [strain_and_stress(atoms, reference) for atoms in frames]
        small = [np.abs(strain * [1, 1, 1, 0.5, 0.5, 0.5]).max() < MAX_STRAIN for strain, _ in pairs]
        if sum(small) < 4:
            raise ValueError(f"{sum(small)} of {len(frames)} frames are strained by less than {MAX_STRAIN:g}, not 4.")
        strain_S6, stress_S6 = (np.array(rows)[small] for rows in zip(*pairs, strict=True))
        (tension, c11, c12, c44), rms = cubic_fit(strain_S6, stress_S6)
        a0 = reference * float(np.sqrt(1 - 2 * tension / (c11 + 2 * c12)))
    energies = np.array([atoms.get_potential_energy() / len(atoms) for atoms in frames])[small]
    usable = (np.abs(strain_S6[:, 3:]).max(1) < 1e-4) | (c44 is not None)
    at_rest = energies - _work(strain_S6, (tension, c11, c12, c44 or 0.0)) * reference**3 / SITES[structure]
    moduli = (c11 / units.GPa, c12 / units.GPa, None if c44 is None else c44 / units.GPa)
    spread = float(at_rest[usable].std())
    return Crystal(a0, float(np.median(at_rest[usable])), *moduli, int(sum(small)), rms / units.GPa, spread)


def strain_and_stress(atoms: Atoms, reference: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Engineering strain [6] against cubic cells of edge `reference` (Å), and the stress [6] (eV/Å³) of it."""
    repeats = np.round(atoms.cell.lengths() / reference)
    deformation = np.linalg.solve(np.diag(repeats * reference), atoms.cell.array)  # rows
    strain = (deformation @ deformation.T - np.eye(3)) / 2
    inverse = np.linalg.inv(deformation)
    stress = np.linalg.det(deformation) * inverse.T @ atoms.get_stress(voigt=False) @ inverse
    order = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
    return strain[order] * np.array([1, 1, 1, 2, 2, 2]), stress[order]


def cubic_fit(
    strain_S6: NDArray[np.float64], stress_S6: NDArray[np.float64]
) -> tuple[tuple[float, float, float, float | None], float]:
    """Tension at no strain, C11, C12 and C44, and the rms deviation; units of the stress.

    C44 is None without shears, and where shear stresses are not linear in them.
    """
    normal, sums = strain_S6[:, :3], strain_S6[:, :3].sum(1, keepdims=True)
    ones = np.ones_like(normal)
    design = np.column_stack([ones.ravel(), normal.ravel(), (sums - normal).ravel()])
    (tension, c11, c12), *_ = np.linalg.lstsq(design, stress_S6[:, :3].ravel(), rcond=None)
    residual = stress_S6[:, :3].ravel() - design @ np.array([tension, c11, c12])
    shear, sheared = strain_S6[:, 3:], stress_S6[:, 3:]
    c44 = None
    if np.abs(shear).max() > 1e-3:
        slope = float((shear * sheared).sum() / (shear**2).sum())
        linear = ((sheared - slope * shear) ** 2).sum() < 0.1 * (sheared**2).sum()
        c44 = slope if linear else None
    return (float(tension), float(c11), float(c12), c44), float(np.sqrt(np.mean(residual**2)))


def _work(strain_S6: NDArray[np.float64], fit: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """[S] elastic energy over the reference volume, eV/Å³."""
    tension, c11, c12, c44 = fit
    normal = strain_S6[:, :3]
    squares = (normal**2).sum(1)
    mixed = (normal.sum(1) ** 2 - squares) / 2
    return tension * normal.sum(1) + c11 * squares / 2 + c12 * mixed + c44 * (strain_S6[:, 3:] ** 2).sum(1) / 2


def surface_energy(energy: float, atoms: Atoms, bulk_energy: float) -> float:
    """J/m² of a slab with two like faces: (E − N·E(crystal)/atom) / 2A, the faces along the first two cell vectors."""
    area = float(np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])))
    return (energy - len(atoms) * bulk_energy) / (2 * area) / (units.J / units.m**2)


def slabs_by_dft(frames: list[Atoms], structure: str, crystal: Crystal) -> list[Slab]:
    """The Surface frames with their facets and energies by DFT."""
    found = []
    for atoms in frames:
        energy = surface_energy(atoms.get_potential_energy(), atoms, crystal.energy)
        found.append(Slab(atoms, facet_of(atoms, structure, crystal.a0), energy))
    return found


def facet_of(atoms: Atoms, structure: str, a0: float, tolerance: float = 0.02) -> str:
    """ "100", "110" or "111" where the cell along the faces is that facet's smallest, " 2×1" behind for twice it.

    Empty for any other. tolerance: relative, of lengths. Facets of higher indices have larger cells.
    """
    first, second = atoms.cell.array[0], atoms.cell.array[1]
    for suffix, pairs in (("", [(first, second)]), (" 2×1", [(first / 2, second), (first, second / 2)])):
        for facet, lengths in _facets(structure, a0).items():
            if any(np.allclose(_shape(*pair), lengths, rtol=tolerance) for pair in pairs):
                return facet + suffix
    return ""


def _facets(structure: str, a0: float) -> dict[str, NDArray[np.float64]]:
    """Shapes of the smallest cells of the low facets."""
    cells = {
        "fcc": {"100": ([1, 1, 0], [1, -1, 0]), "110": ([1, -1, 0], [0, 0, 2]), "111": ([1, -1, 0], [0, 1, -1])},
        "bcc": {"100": ([2, 0, 0], [0, 2, 0]), "110": ([1, -1, 1], [1, -1, -1]), "111": ([2, -2, 0], [0, 2, -2])},
    }
    of_lattice = cells["bcc" if structure == "bcc" else "fcc"]
    return {name: _shape(*(np.array(vector) * a0 / 2 for vector in pair)) for name, pair in of_lattice.items()}


def _shape(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths of the two shortest vectors of a plane's lattice and of the longer diagonal, which fix it; Gauss."""
    while True:
        if first @ first > second @ second:
            first, second = second, first
        steps = round(float(first @ second / (first @ first)))
        if steps == 0:
            break
        second = second - steps * first
    diagonals = [np.linalg.norm(first + second), np.linalg.norm(first - second)]
    return np.array([np.linalg.norm(first), np.linalg.norm(second), max(diagonals)])


def primitive(element: str, a0: float) -> Atoms:
    """The smallest cell, its cubic axes along Cartesian ones."""
    return bulk(element, STRUCTURES[element], a=a0)
