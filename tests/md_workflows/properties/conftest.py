"""What tests of properties share: an engine that counts its streams, and relaxed metals."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from md_workflows import ASEEngine, BatchedEngine, CellSettings, Outcome, RelaxSettings, relax
from md_workflows.batched.ase_model import ASEModel


class Streaming(ASEEngine):
    """Counts its streams and hands outcomes back in a random order, as an engine of batches may."""

    def __init__(self, calculator: Any) -> None:
        super().__init__(calculator)
        self.streams: list[int] = []

    def relax_many(self, structures: Iterable[Atoms], settings: RelaxSettings) -> Iterator[Outcome]:
        outcomes = list(super().relax_many(structures, settings))
        self.streams.append(len(outcomes))
        order = np.random.default_rng(0).permutation(len(outcomes))
        return (outcomes[place] for place in order)


class Together(ASEModel):
    """EMT's structures in one fleet: what a potential does, with numbers that are ASE's."""

    room = 1e9


@pytest.fixture
def batched() -> BatchedEngine:
    return BatchedEngine(Together(EMT(), "emt"), "EMT")


@pytest.fixture
def engine() -> Streaming:
    return Streaming(EMT())


@pytest.fixture(scope="session")
def relaxed() -> Callable[[Atoms], Atoms]:
    """A structure relaxed by EMT with its cell."""

    def relaxed_with_cell(atoms: Atoms) -> Atoms:
        settings = RelaxSettings(optimizer="lbfgs", fmax=1e-5, cell=CellSettings())
        return relax(atoms, settings, calculator=EMT()).atoms

    return relaxed_with_cell


@pytest.fixture(scope="session")
def copper(relaxed: Callable[[Atoms], Atoms]) -> Atoms:
    """One atom of fcc copper."""
    return relaxed(bulk("Cu"))


@pytest.fixture(scope="session")
def cu3au(relaxed: Callable[[Atoms], Atoms]) -> Atoms:
    """Ordered Cu3Au (L1_2): one gold atom, three copper atoms that symmetry does not tell apart."""
    atoms = bulk("Cu", a=3.75, cubic=True)
    atoms.symbols[0] = "Au"
    return relaxed(atoms)
