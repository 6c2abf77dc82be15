"""Radial distribution functions, of all atoms and of each pair of elements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from md_workflows.analysis.blocks import State
from md_workflows.analysis.reporter import Finding, Reporter, ReporterSettings, Table
from md_workflows.analysis.shells import occupied_box, shell_area
from md_workflows.snapshot import Snapshot

Floats = NDArray[np.float64]


class RDFSettings(ReporterSettings):
    """cutoff: Å, may exceed the cell: all periodic images count · bins: up to the cutoff."""

    cutoff: Annotated[float, Field(gt=0)] = 8.0
    bins: Annotated[int, Field(ge=1)] = 160


class RDF(Reporter):
    """g(r): pairs of atoms by their distance, over those that an even gas in the same place would have.

    The place is the cell; along directions that do not repeat it is what the atoms fill (`occupied_box`), so that
    slabs, wires and clusters are normalised by what of each shell lies within them. All periodic images count, also an
    atom's own.
    """

    name = "rdf"

    def __init__(self, settings: RDFSettings | None = None) -> None:
        settings = settings or RDFSettings()
        super().__init__(settings)
        self._cutoff = settings.cutoff
        self._edges = np.linspace(0, settings.cutoff, settings.bins + 1)
        self._frames = 0
        self._counts = np.zeros((0, 0, settings.bins), dtype=np.int64)
        self._shells = np.zeros(settings.bins)  # sum over frames of the volume of each shell over that of the box

    def _begin(self) -> None:
        n_kinds = len(self.elements)
        self._counts = np.zeros((n_kinds, n_kinds, len(self._edges) - 1), dtype=np.int64)

    def _take(self, snapshot: Snapshot) -> None:
        from potentials.neighbours import neighbour_list

        system = snapshot.system
        pairs = neighbour_list(snapshot.positions, snapshot.cell, system.pbc, self._cutoff)
        vectors = snapshot.positions[pairs.neighbour] - snapshot.positions[pairs.centre]
        vectors = vectors + pairs.shift @ np.where(system.pbc[:, None], snapshot.cell, 0.0)
        bins = len(self._edges) - 1
        distances = np.linalg.norm(vectors, axis=1)
        place = np.minimum((distances * (bins / self._cutoff)).astype(np.int64), bins - 1)
        kinds, n_kinds = self.kinds, len(self._counts)
        of_both = kinds[pairs.centre] * n_kinds + kinds[pairs.neighbour]
        counts = np.bincount(of_both * bins + place, minlength=n_kinds**2 * bins)
        self._counts += counts.reshape(n_kinds, n_kinds, bins)
        extents, volume = occupied_box(snapshot.positions, snapshot.cell, system.pbc)
        middle = (self._edges[1:] + self._edges[:-1]) / 2
        low, mid, high = (shell_area(radii, extents) for radii in (self._edges[:-1], middle, self._edges[1:]))
        self._shells += (low + 4 * mid + high) / 6 * np.diff(self._edges) / volume  # Simpson: exact for 4πr²
        self._frames += 1

    def tables(self) -> dict[str, Table]:
        """r (middle of the bin), g of all pairs and each pair of elements, and n_A-B: neighbours of A up to its end."""
        numbers = np.bincount(self.kinds)
        table: dict[str, Floats] = {"r_A": (self._edges[1:] + self._edges[:-1]) / 2}
        with np.errstate(invalid="ignore", divide="ignore"):
            table["g"] = self._counts.sum(axis=(0, 1)) / (numbers.sum() ** 2 * self._shells)
            for (a, first), (b, second) in self._pairs():
                both = self._counts[a, b] / (numbers[a] * numbers[b] * self._shells)
                table[f"g_{first}-{second}"] = both
        for a, first in enumerate(self.elements):
            for b, second in enumerate(self.elements):
                table[f"n_{first}-{second}"] = np.cumsum(self._counts[a, b]) / (numbers[a] * self._frames)
        return {self.name: table}

    def findings(self) -> list[Finding]:
        """Where each pair of elements has its highest peak."""
        table, found = self.tables()[self.name], []
        for (_, first), (_, second) in self._pairs():
            values = np.asarray(table[f"g_{first}-{second}"])
            values = np.where(np.isfinite(values), values, 0.0)  # beyond what the atoms fill g is unknown
            if values.any():
                peak = float(table["r_A"][int(np.argmax(values))])
                found.append(Finding(f"highest peak of g {first}-{second}", peak, self._edges[1] / 2, "Å"))
        return found

    def _pairs(self) -> Iterator[tuple[tuple[int, str], tuple[int, str]]]:
        named = list(enumerate(self.elements))
        return ((one, other) for one in named for other in named[one[0] :])

    def _state(self) -> State:
        return {"counts": self._counts.copy(), "shells": self._shells.copy(), "frames": np.array(self._frames)}

    def _restore(self, state: State) -> None:
        self._counts, self._shells = np.array(state["counts"]), np.array(state["shells"])
        self._frames = int(state["frames"])
