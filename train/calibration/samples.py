"""Errors beside the uncertainties that were given with them, value by value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from potentials.calibration import UNCERTAINTY, QuantityName
from potentials.graph import AtomicGraph
from potentials.quantities import VOIGT
from train.evaluation import Evaluate, batches
from train.labelled import Labelled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

QUANTITIES: tuple[QuantityName, ...] = get_args(QuantityName)


@dataclass(frozen=True)
class Sample:
    """Errors of one quantity, M values.

    Attributes:
        error: [M] predicted minus reference: of the structure's energy, of a force component, of a stress component.
        uncertainty: [M] as it was given, same unit.
        structure: [M] the structure that each is of, or the group of related structures.
        numbers: [M] atomic number of its atom; 0 where it is of a structure.
        atoms: [M] atoms of its structure (energies); 1 elsewhere, where nothing grows with the size.
    """

    error: Floats
    uncertainty: Floats
    structure: Integers
    numbers: Integers
    atoms: Floats

    def __len__(self) -> int:
        return len(self.error)

    def part(self, mask: NDArray[np.bool_]) -> Sample:
        """Some of the values."""
        return Sample(**{field.name: getattr(self, field.name)[mask] for field in fields(self)})

    @property
    def symbols(self) -> dict[str, int]:
        """Elements that there are, and their atomic numbers; none of what is of structures."""
        return {chemical_symbols[number]: int(number) for number in np.unique(self.numbers) if number}

    @property
    def structures(self) -> int:
        """How many structures they are of."""
        return len(np.unique(self.structure))

    @property
    def effective(self) -> float:
        """Structures, counted by how much each weighs: (Σ nᵢ)² / Σ nᵢ² of their nᵢ values (Kish, 1965)."""
        counts = np.unique(self.structure, return_counts=True)[1].astype(np.float64)
        return float(counts.sum() ** 2 / np.square(counts).sum()) if len(counts) else 0.0


Samples = dict[QuantityName, Sample]
"""Of all quantities that have a label and an uncertainty."""


class Gathering:
    """Errors and uncertainties of batch after batch."""

    def __init__(self) -> None:
        self.structures = 0
        self._found: dict[QuantityName, list[Sample]] = {name: [] for name in QUANTITIES}

    def add(self, batch: Labelled, results: Mapping[str, Tensor]) -> None:
        """Keep what is labelled and has an uncertainty, of a batch that was evaluated."""
        for name in QUANTITIES:
            given = results.get(UNCERTAINTY[name])
            if given is None or bool(given.isnan().all()):  # NaN: this head knows none
                continue
            if bool(batch.known[name].any()):
                self._found[name].append(_values(name, batch, results, self.structures))
        self.structures += batch.graph.n_graphs

    def samples(self) -> Samples:
        """All of them; the structures are numbered in their order."""
        return {name: _one_after_another(parts) for name, parts in self._found.items() if parts}


def sample(
    evaluate: Evaluate,
    structures: Sequence[Labelled],
    *,
    device: torch.device | str = "cpu",
    max_atoms: int = 2000,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Samples:
    """Predict all structures, and keep errors and uncertainties of what is labelled.

    Args:
        evaluate: what gives quantities and their uncertainties; see `potentials.calibration.UNCERTAINTY`.
        structures: with their graphs.
        device: where it computes.
        max_atoms: atoms evaluated at once.
        progress: told how many structures are done.

    Raises:
        ValueError: there are no uncertainties among the results.
    """
    gathering = Gathering()
    for batch in batches(structures, max_atoms, torch.device(device)):
        with torch.no_grad():
            results = evaluate(batch.graph)
        if not any(name in results for name in UNCERTAINTY.values()):
            raise ValueError("this potential gives no uncertainties: there is nothing to calibrate or to measure")
        gathering.add(batch, results)
        if progress is not None:
            progress("predicting", gathering.structures, len(structures))
    return gathering.samples()


def grouped(samples: Samples, groups: Sequence[str]) -> Samples:
    """The same with groups of related structures in the place of structures: frames of one trajectory, say.

    Args:
        samples: errors and uncertainties.
        groups: the group of each structure.
    """
    rows = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    return {name: replace(one, structure=rows[one.structure]) for name, one in samples.items()}


def _one_after_another(parts: Sequence[Sample]) -> Sample:
    return Sample(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Sample)}
    )


def _values(name: QuantityName, batch: Labelled, results: Mapping[str, Tensor], first: int) -> Sample:
    """Known values of one quantity of a batch whose structures are numbered from `first`."""
    graph, known = batch.graph, batch.known[name].cpu()
    error = (results[name] - batch.labels[name]).cpu().double()[known]
    given = results[UNCERTAINTY[name]].cpu().double()[known]
    graphs = torch.arange(graph.n_graphs)
    of = (graph.graph_index.cpu() if name == "forces" else graphs)[known] + first
    numbers = graph.numbers.cpu()[known] if name == "forces" else torch.zeros_like(of)
    atoms = _atoms(graph)[known] if name == "energy" else torch.ones_like(given)
    if name == "stress":
        error = torch.stack([error[:, row, column] for row, column in VOIGT], dim=1)
    width = error.shape[1] if error.ndim > 1 else 1
    columns: dict[str, Any] = {"uncertainty": given, "structure": of, "numbers": numbers, "atoms": atoms}
    rows = {key: value.repeat_interleave(width).numpy() for key, value in columns.items()}
    return Sample(error=error.reshape(-1).numpy(), **rows)


def _atoms(graph: AtomicGraph) -> Tensor:
    return torch.bincount(graph.graph_index, minlength=graph.n_graphs).cpu().double()
