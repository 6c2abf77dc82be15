"""From structures to vectors and uncertainties, in batches: by a potential, or by geometry alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from md_workflows.attached import check_usable
from md_workflows.selection.features import (
    CENTRES,
    Floats,
    Vector,
    densities,
    graph_features,
    projected,
    structure_blocks,
)
from md_workflows.structures import one_line

BATCH_ATOMS = 1024
"""Atoms of one call of a potential: enough to fill a CPU, little memory."""

UNCERTAINTY_NAMES = ("uncertainty", "uncertainty_eV_per_A")
"""In info of frames, and as a column of screenings."""

STATE_WEIGHT = 10.0
"""Of charge and spin beside densities, which are of the order of 1 to 10: structures of different charge are unlike."""


@dataclass(frozen=True)
class Described:
    """A structure as selection sees it. vector: [256] · uncertainty: eV/Å, NaN where unknown · error: why neither."""

    vector: Vector | None
    uncertainty: float = math.nan
    error: str = ""


class Describer(Protocol):
    """Describes structures, many at once."""

    def describe(self, structures: Sequence[Atoms], *, uncertain: bool = True) -> list[Described]:
        """Each structure, in their order; one that fails has an error. uncertain: whether uncertainties are wanted."""


class GeometricDescriber:
    """Densities of neighbours by element and distance; uncertainties as the frames hold them."""

    def describe(self, structures: Sequence[Atoms], *, uncertain: bool = True) -> list[Described]:
        """See `Describer`."""
        return [_apart(_geometric, atoms, uncertain) for atoms in structures]


class ModelDescriber:
    """Features of a potential's backbone; uncertainties by it where it gives them, else as the frames hold them.

    Args:
        potential: of ours, of one head, or an ensemble of such.
        evaluate: from graphs to quantities; "uncertainty" [G] among them, eV/Å, if it knows it.
        check: raises ValueError for a structure that the potential does not know.
    """

    def __init__(self, potential: Any, evaluate: Callable[[Any], Any] | None, check: Callable[[Atoms], None]) -> None:
        self._potential, self._evaluate, self._check = potential, evaluate, check
        # features of the first of several: those of others would tell the same in other words
        self._first = potential.members()[0] if hasattr(potential, "members") else potential

    def describe(self, structures: Sequence[Atoms], *, uncertain: bool = True) -> list[Described]:
        """See `Describer`."""
        found: list[Described] = []
        for group in batches(structures):
            try:
                found += self._together(group, uncertain)
            except Exception:  # one of them, or all: each is tried by itself
                found += [
                    _apart(lambda atoms, wanted: self._together([atoms], wanted)[0], one, uncertain) for one in group
                ]
        return found

    def _together(self, structures: Sequence[Atoms], uncertain: bool) -> list[Described]:
        from potentials.graph import batch
        from potentials.structures import graph_from_atoms

        for atoms in structures:
            check_usable(atoms)
            self._check(atoms)
        graph = batch([graph_from_atoms(atoms, self._potential.cutoff) for atoms in structures])
        own = graph
        if self._first.cutoff != self._potential.cutoff:
            own = batch([graph_from_atoms(atoms, self._first.cutoff) for atoms in structures])
        features = graph_features(self._first, own)
        parts = np.split(features, np.cumsum([len(atoms) for atoms in structures])[:-1])
        vectors = [projected(structure_blocks(a.numbers, part)) for a, part in zip(structures, parts, strict=True)]
        return [
            Described(vector, value)
            for vector, value in zip(vectors, self._uncertainties(graph, structures, uncertain), strict=True)
        ]

    def _uncertainties(self, graph: Any, structures: Sequence[Atoms], uncertain: bool) -> list[float]:
        if uncertain and self._evaluate is not None:
            results = self._evaluate(graph.to(self._potential.device))
            if "uncertainty" in results and not bool(results["uncertainty"].isnan().any()):  # NaN: the head has none
                return [float(value) for value in results["uncertainty"]]
        return [told_uncertainty(atoms) if uncertain else math.nan for atoms in structures]


def batches(structures: Iterable[Atoms], atoms_each: int = BATCH_ATOMS) -> Iterator[list[Atoms]]:
    """Structures in groups of about so many atoms, one at least."""
    group: list[Atoms] = []
    size = 0
    for atoms in structures:
        if group and size + len(atoms) > atoms_each:
            yield group
            group, size = [], 0
        group.append(atoms)
        size += len(atoms)
    if group:
        yield group


def told_uncertainty(atoms: Atoms) -> float:
    """eV/Å as a frame holds it, or NaN: of info or results, or the largest of its atoms."""
    results = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
    for held in (atoms.info, results):
        for name in UNCERTAINTY_NAMES:
            if held.get(name) is not None:
                return float(held[name])
    of_atoms = atoms.arrays.get("forces_uncertainty", results.get("forces_uncertainty"))
    return math.nan if of_atoms is None or not len(of_atoms) else float(np.max(of_atoms))


def _geometric(atoms: Atoms, uncertain: bool) -> Described:
    check_usable(atoms)
    elements = [int(number) for number in np.unique(atoms.numbers)]
    by_neighbour = densities(atoms, elements).reshape(len(atoms), len(elements), CENTRES)
    blocks: dict[Hashable, Floats] = {}
    for column, neighbour in enumerate(elements):
        for centre, block in structure_blocks(atoms.numbers, by_neighbour[:, column]).items():
            assert isinstance(centre, int)
            blocks[centre, neighbour] = block
    state = np.array([float(atoms.info.get(name, 0.0)) for name in ("charge", "spin")])
    if state.any():
        blocks[0] = STATE_WEIGHT * state
    return Described(projected(blocks), told_uncertainty(atoms) if uncertain else math.nan)


def _apart(describe: Callable[[Atoms, bool], Described], atoms: Atoms, uncertain: bool) -> Described:
    try:
        return describe(atoms, uncertain)
    except Exception as error:  # whatever is raised is about this structure
        return Described(None, error=one_line(error))
