"""Structures that are there twice: equal to the last digit, or the same crystal described in another way."""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from importlib.util import find_spec
from typing import Any, Protocol, TypeAlias

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float32]

NEIGHBOURS = 24
"""Neighbours of an atom that a fingerprint looks at: three shells of fcc are 42, but what it lets pass is compared."""

REMEMBERED = 1000
"""Structures that are kept in memory until the table surely has them."""


class Twins(Protocol):
    """Finds the earlier one of two equal structures."""

    def find(self, identifier: str, content: str, atoms: Atoms) -> str:
        """The identifier of the first structure equal to this one; of a first one nothing, and it is remembered."""


class ExactTwins:
    """Structures of the same contents: elements, positions, cell, periodicity, charge, spin, constraints."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}

    def find(self, identifier: str, content: str, atoms: Atoms) -> str:  # noqa: ARG002 - of contents alone
        """See `Twins`."""
        first = self._first.setdefault(bytes.fromhex(content), identifier)
        return "" if first == identifier else first


class CrystalTwins:
    """Crystals that are the same within a tolerance, whatever their cell, origin, orientation and order of atoms.

    Fingerprints (`fingerprint`) choose candidates; spglib reduces these to primitive cells, and pymatgen's
    StructureMatcher lays them onto each other: S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013). Mirror images are
    the same. Structures that are not periodic in three directions, or have constraints, are the same as others only if
    they are so to the last digit. Memory holds below 1 kB of each.
    """

    def __init__(self, tolerance: float, start: Callable[[str], Atoms | None]) -> None:
        """tolerance: Å that atoms may be apart · start: the structure, as it came in, of an identifier."""
        self._tolerance = tolerance
        self._start = start
        self._exact = ExactTwins()
        self._twins: dict[str, str] = {}
        self._buckets: dict[Hashable, _Bucket] = {}
        self._recent: OrderedDict[str, Atoms] = OrderedDict()

    def find(self, identifier: str, content: str, atoms: Atoms) -> str:
        """See `Twins`."""
        if first := self._exact.find(identifier, content, atoms):
            return self._twins.get(first, first)  # of three equal ones the third equals the first too
        if not comparable(atoms):
            return ""
        vector = fingerprint(atoms)
        bucket = self._buckets.setdefault(_kind(atoms), _Bucket(len(vector)))
        for candidate in bucket.near(vector, 2 * self._tolerance):
            if self._same(atoms, candidate):
                self._twins[identifier] = candidate
                return candidate
        bucket.add(identifier, vector)
        self._recent[identifier] = atoms
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        return ""

    def _same(self, atoms: Atoms, candidate: str) -> bool:
        other = self._recent.get(candidate) or self._start(candidate)
        return other is not None and same_crystal(atoms, other, self._tolerance)


class _Bucket:
    """Fingerprints of structures of one composition."""

    def __init__(self, width: int) -> None:
        self._names: list[str] = []
        self._vectors: Vector = np.empty((4, width), np.float32)

    def add(self, name: str, vector: Vector) -> None:
        if len(self._names) == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.empty_like(self._vectors)])
        self._vectors[len(self._names)] = vector
        self._names.append(name)

    def near(self, vector: Vector, distance: float) -> list[str]:
        known = self._vectors[: len(self._names)]
        close = np.abs(known - vector).max(axis=1) <= distance + 1e-5  # rounding of float32
        return [self._names[place] for place in np.flatnonzero(close)]


def comparable(atoms: Atoms) -> bool:
    """Whether a structure is a crystal that can be compared with others within a tolerance."""
    finite = np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()
    return bool(len(atoms) and atoms.pbc.all() and finite and atoms.cell.volume > 0 and not atoms.constraints)


def _kind(atoms: Atoms) -> Hashable:
    """What equal crystals share exactly: composition, charge and spin of each atom on average."""
    counts = Counter(int(number) for number in atoms.numbers)
    common = math.gcd(*counts.values())
    states = tuple(round(float(atoms.info.get(name, 0.0)) / len(atoms), 9) for name in ("charge", "spin"))
    return tuple(sorted((number, count // common) for number, count in counts.items())), states


def fingerprint(atoms: Atoms) -> Vector:
    """Average minimum distances, Å: of each pair of elements, how far the nearest, second nearest ... of B is from A.

    Each element has a share of NEIGHBOURS as in the composition. The numbers do not depend on cell, origin, orientation
    and order of atoms; where each atom moves by less than d they change by less than 2 d. After D. Widdowson et al.,
    Average minimum distances of periodic point sets, MATCH 87, 529 (2022), there without elements.
    """
    elements, counts = np.unique(atoms.numbers, return_counts=True)
    shares = np.maximum(1, np.rint(NEIGHBOURS * counts / len(atoms)).astype(int))
    radius = 1.2 * (3 * NEIGHBOURS * atoms.cell.volume / (4 * np.pi * len(atoms))) ** (1 / 3)
    while (found := _distances(atoms, elements, shares, radius)) is None:
        radius *= 1.3
    return found


def _distances(atoms: Atoms, elements: NDArray[Any], shares: NDArray[Any], radius: float) -> Vector | None:
    """The fingerprint, or None when some atom has too few neighbours within `radius`."""
    from matscipy.neighbours import neighbour_list

    centre, neighbour, distance = neighbour_list("ijd", atoms, float(radius))
    order = np.lexsort((distance, atoms.numbers[neighbour], centre))
    centre, element, distance = centre[order], atoms.numbers[neighbour][order], distance[order]
    parts = []
    for number, share in zip(elements, shares, strict=True):
        chosen = element == number
        at, apart = centre[chosen], distance[chosen]
        many = np.bincount(at, minlength=len(atoms))
        if many.min() < share:
            return None
        first = np.concatenate([[0], np.cumsum(many)[:-1]])
        nearest = apart[first[:, None] + np.arange(share)]
        parts += [nearest[atoms.numbers == other].mean(axis=0) for other in elements]
    return np.concatenate(parts).astype(np.float32)


def same_crystal(one: Atoms, other: Atoms, tolerance: float) -> bool:
    """Whether the atoms of two crystals can be laid onto each other within `tolerance` (Å), as pymatgen finds."""
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

    cells = [_primitive(atoms, tolerance) for atoms in (one, other)]
    if len(cells[0]) != len(cells[1]):
        return False
    matcher = StructureMatcher(primitive_cell=False, scale=False)  # with wide tolerances: the distance decides
    found = matcher.get_rms_dist(
        *(Structure(cell.cell.array, cell.get_chemical_symbols(), cell.get_scaled_positions()) for cell in cells)
    )
    spacing = (cells[0].cell.volume / len(cells[0])) ** (1 / 3)  # in which the matcher counts
    return found is not None and bool(found[1] * spacing <= tolerance)


def _primitive(atoms: Atoms, tolerance: float) -> Atoms:
    """The primitive cell, of elements and positions alone; the structure's own where spglib finds none."""
    from ase.utils import spglib_new_errorhandling
    from spglib import standardize_cell

    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    try:
        found = spglib_new_errorhandling(standardize_cell)(cell, to_primitive=True, no_idealize=True, symprec=tolerance)
    except Exception:  # of several kinds, by the version of spglib: no symmetry within the tolerance
        found = cell
    vectors, places, numbers = found
    return Atoms(numbers, scaled_positions=places, cell=vectors, pbc=True)


def check_comparison(tolerance: float) -> None:
    """Raise ValueError when crystals cannot be compared: no spglib, or a tolerance that is none."""
    if not 0 < tolerance <= 0.5:
        raise ValueError(f"duplicates within {tolerance} Å cannot be asked for; give more than 0 and at most 0.5.")
    missing = [name for name in ("spglib", "pymatgen") if find_spec(name) is None]
    if missing:
        needed = ", ".join(missing)
        raise ValueError(f"duplicates within a tolerance need {needed}: pip install 'gfm-ase[materials]'.")
