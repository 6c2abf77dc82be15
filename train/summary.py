"""What the training structures are like: one pass over elements and labels, block by block, parts added up.

Nothing here grows with the number of structures, and several processes can share the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from potentials.backbones.base import N_ELEMENTS
from potentials.quantities import QUANTITIES, TRAINABLE, Quantity
from train.columns import Columns
from train.group import ALONE, Group
from train.structures import Structures

Array = NDArray[Any]


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of numbers, which can be added up (Chan, Golub, LeVeque, 1979)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    @staticmethod
    def of(values: Array) -> Moments:
        """Those of numbers, none of which need be there."""
        if not values.size:
            return Moments()
        mean = float(values.mean())
        return Moments(float(values.size), mean, float(((values - mean) ** 2).sum()))

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        if not count:
            return Moments()
        apart, share = other.mean - self.mean, other.count / count
        squares = self.squares + other.squares + apart**2 * self.count * share
        return Moments(count, self.mean + apart * share, squares)

    def deviation(self, shift: float) -> float:
        """Root mean square deviation from a number."""
        return float(np.sqrt(self.squares / self.count + (self.mean - shift) ** 2))


@dataclass(frozen=True)
class Summary:
    """Of some structures.

    Attributes:
        structures: how many.
        atoms: [119] atoms of each element.
        edges: directed, of all graphs.
        charged: structures with a charge or a spin.
        repeating: [4] structures by how many of their directions repeat.
        known: names of the labels that there are.
        triangle: [121, 121] R of the QR decomposition of a row for each structure with an energy: the share of each
            element, 1, the energy per atom in eV. What least squares needs, without squaring anything.
        moments: of the components of forces and of the labels of outputs, extensive scalars per atom; charges without
            their mean in the structure.
    """

    structures: int
    atoms: Array
    edges: int
    charged: int
    repeating: Array
    known: frozenset[str]
    triangle: Array
    moments: dict[str, Moments]

    @property
    def numbers(self) -> list[int]:
        """Atomic numbers of the elements that there are."""
        return [int(number) for number in np.flatnonzero(self.atoms)]

    def __add__(self, other: Summary) -> Summary:
        names = self.moments.keys() | other.moments.keys()
        return Summary(
            self.structures + other.structures,
            self.atoms + other.atoms,
            self.edges + other.edges,
            self.charged + other.charged,
            self.repeating + other.repeating,
            self.known | other.known,
            _triangle(np.vstack([self.triangle, other.triangle])),
            {name: self.moments.get(name, Moments()) + other.moments.get(name, Moments()) for name in sorted(names)},
        )

    def message(self) -> bytes:
        """For `Summary.told` on another process."""
        counts = np.array([self.structures, self.edges, self.charged])
        moments = {f"moments.{name}": np.array([m.count, m.mean, m.squares]) for name, m in self.moments.items()}
        known = {f"known.{name}": np.zeros(1) for name in self.known}
        arrays = {"atoms": self.atoms, "repeating": self.repeating, "triangle": self.triangle}
        return save({"counts": counts, **arrays, **moments, **known})

    @staticmethod
    def told(message: bytes) -> Summary:
        """The summary of a `message`."""
        found = load(message)
        structures, edges, charged = found["counts"].tolist()
        moments = {name[8:]: Moments(*found[name].tolist()) for name in sorted(found) if name.startswith("moments.")}
        known = frozenset(name[6:] for name in found if name.startswith("known."))
        arrays = found["repeating"], known, found["triangle"]
        return Summary(structures, found["atoms"], edges, charged, *arrays, moments)


EMPTY = Summary(
    structures=0,
    atoms=np.zeros(N_ELEMENTS, np.int64),
    edges=0,
    charged=0,
    repeating=np.zeros(4, np.int64),
    known=frozenset(),
    triangle=np.zeros((N_ELEMENTS + 2,) * 2),
    moments={},
)


def summarise(structures: Structures, outputs: Sequence[Quantity] = (), group: Group = ALONE) -> Summary:
    """Go through structures once; several processes each through a part, to the same result.

    Args:
        structures: of a split.
        outputs: quantities whose labels are looked at beside forces.
        group: processes that share the work.
    """
    rows = [QUANTITIES["forces"], *outputs]
    found = EMPTY
    for numbers in structures.blocks(group.rank, group.size):
        found = found + _of_block(structures.columns(numbers), rows, int(structures.sizes(numbers)[:, 1].sum()))
    if group.size == 1:
        return found
    told = [Summary.told(message) for message in group.share(found.message())]
    return sum(told, EMPTY)


def _of_block(columns: Columns, rows: Sequence[Quantity], edges: int) -> Summary:
    counts = columns.counts
    owner = np.repeat(np.arange(len(counts)), counts)
    composition = np.zeros((len(counts), N_ELEMENTS))
    np.add.at(composition, (owner, columns.numbers), 1.0)
    has = columns.known.get("energy", np.zeros(len(counts), bool))
    per_atom = columns.labels["energy"][has] / counts[has] if has.any() else np.zeros(0)
    shares = composition[has] / counts[has, None]
    return Summary(
        structures=len(counts),
        atoms=composition.sum(0).astype(np.int64),
        edges=edges,
        charged=int(((columns.charge != 0) | (columns.spin != 0)).sum()),
        repeating=np.bincount(columns.repeating, minlength=4),
        known=frozenset(name for name, known in columns.known.items() if known.any()),
        triangle=_triangle(np.column_stack([shares, np.ones(len(per_atom)), per_atom])),
        moments={row.name: Moments.of(_values(columns, row)) for row in rows if row.trained_on in columns.known},
    )


def _values(columns: Columns, row: Quantity) -> Array:
    """Known labels, all components in a row."""
    known, labels = columns.known[row.trained_on], columns.labels[row.trained_on][columns.known[row.trained_on]]
    counts = columns.counts
    if row.name == "charges":
        labels = labels - np.repeat(columns.charge / counts, counts)[known]
    elif row.level == "graph" and row.extensive and row.name not in TRAINABLE:
        labels = labels / counts[known].reshape(-1, *[1] * len(row.shape))
    return labels.reshape(-1)


def _triangle(rows: Array) -> Array:
    """[121, 121] R of the rows, padded with zeros where there are few; columns of absent elements cost nothing."""
    present = np.flatnonzero(np.abs(rows).max(0, initial=0.0))
    small = np.linalg.qr(rows[:, present], mode="r") if len(present) and len(rows) else np.zeros((0, len(present)))
    whole = np.zeros((rows.shape[1], rows.shape[1]))
    whole[: len(small), present] = small
    return whole
