"""A potential made ready to be tested, and the bounds it is held to."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from potentials.backbones.base import N_ELEMENTS
from potentials.graph import AtomicGraph, batch
from potentials.potential import Potential
from potentials.structures import graph_from_atoms
from potentials.testing.samples import cluster

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tolerances:
    """How far numbers that physics makes equal may differ, as a part of the scale of the quantity.

    Attributes:
        value: two evaluations of what is one structure. Rounding errors of a network of some 100 operations in a chain
            come to about 100 units of the dtype: 1e-5 in float32. In float64 they come to 2e-14; the bound leaves room
            for coordinates that are themselves rounded at 1e-14 Å and for sums over hundreds of atoms.
        derivative: a derivative against finite differences of fourth order, always in float64: of a wave of n half
            periods in the cutoff, steps of h = 5e-5 cutoffs miss (n π h)⁴ / 30, which is 1e-9 for n = 80, four times
            the highest radial function; rounding over step is 1e-11 for each atom. Weights have no such scale and
            leave a factor of 100.
        trivial: a signal (in eV, eV/Å) below this part of the scale would pass a test by being nothing.
    """

    value: float
    derivative: float = 1e-8
    trivial: float = 1e-3


TOLERANCES: dict[torch.dtype, Tolerances] = {
    torch.float64: Tolerances(value=1e-10),
    torch.float32: Tolerances(value=1e-5),
}


@dataclass(frozen=True)
class Answer:
    """What the potential says of one structure.

    Attributes:
        energy: eV.
        energies: [N] eV.
        forces: [N, 3] eV/Å.
        virial: [3, 3] eV.
        stress: [3, 3] eV/Å³, NaN where there is no volume.
        volume: Å³ of the cell; 0 where it has none.
        outputs: what else comes out, by name, in its own unit.
    """

    energy: float
    energies: Floats
    forces: Floats
    virial: Floats
    stress: Floats
    volume: float
    outputs: dict[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class PotentialUnderTest:
    """A copy of a potential, scaled so that its forces are of order 1 eV/Å: small ones would pass by being small.

    References of all elements are random numbers of order 1 eV, other ones for each head. The potential given is left
    alone. Build it with `of`.

    Attributes:
        potential: the copy.
        tolerances: those of its dtype.
        energy_scale: eV, the largest contribution of the network to the energy of an atom in a probe structure.
            Rounding errors of energies, forces (eV/Å) and virials follow it.
    """

    potential: Potential
    tolerances: Tolerances
    energy_scale: float

    @staticmethod
    def of(potential: Potential) -> PotentialUnderTest:
        """The potential ready for `CONTRACT`.

        Raises:
            ValueError: its dtype is neither float32 nor float64.
            AssertionError: its forces are all zero or not finite, so that there is nothing to test.
        """
        if potential.dtype not in TOLERANCES:
            raise ValueError(f"the contract has bounds for float32 and float64, this potential is {potential.dtype}")
        lively = copy.deepcopy(potential).eval()
        probe = cluster(lively.cutoff, 16, seed=7)
        _enliven_outputs(lively, probe)
        _enliven_last_layer(lively, probe)
        random = np.random.default_rng(11)
        scale_of_head = 1.0
        repulsion, lively.repulsion = lively.repulsion, None  # has a scale of its own, which would hide the network
        for head in lively.heads:
            e0 = dict(zip(chemical_symbols[1:N_ELEMENTS], random.normal(size=N_ELEMENTS - 1), strict=True))
            lively.references.set_head(head, e0)
            bare = PotentialUnderTest(lively, TOLERANCES[lively.dtype], 1.0).answer(probe, head=head)
            size = float(np.sqrt(np.mean(bare.forces**2)))
            if not (np.isfinite(size) and size > 1e-6):
                raise AssertionError(f"head {head!r}: forces of a random cluster are {size:.1e} (r.m.s.): none to test")
            lively.references.set_head(head, e0, scale=1 / size)
            network = bare.energies - np.array([e0[symbol] for symbol in probe.symbols])
            scale_of_head = max(scale_of_head, float(np.abs(network).max()) / size)
        lively.repulsion = repulsion
        return PotentialUnderTest(lively, TOLERANCES[lively.dtype], scale_of_head)

    @property
    def cutoff(self) -> float:
        """Å."""
        return self.potential.cutoff

    @property
    def value_bound(self) -> float:
        """eV or eV/Å: two evaluations of one atom's energy or force may differ by this."""
        return self.tolerances.value * self.energy_scale

    def in_float64(self) -> PotentialUnderTest:
        """The same potential with a network of float64, for what is measured by differences."""
        potential = copy.deepcopy(self.potential).double()
        return PotentialUnderTest(potential, TOLERANCES[torch.float64], self.energy_scale)

    def changed(self, change: Callable[[Potential], None]) -> PotentialUnderTest:
        """A copy with a change made to its potential."""
        potential = copy.deepcopy(self.potential)
        change(potential)
        return replace(self, potential=potential)

    def graph(self, atoms: Atoms, *, head: str | None = None, backend: str = "vesin") -> AtomicGraph:
        """The graph of a structure, for one of the heads (the first)."""
        dataset = self.potential.head_index(head or self.potential.heads[0])
        graph = graph_from_atoms(atoms, self.cutoff, dataset=dataset, backend=backend)
        return graph.to(self.potential.device)

    def answer(self, atoms: Atoms, *, head: str | None = None, backend: str = "vesin") -> Answer:
        """What the potential says of one structure alone."""
        return self.answers([self.graph(atoms, head=head, backend=backend)])[0]

    def answers(self, graphs: Sequence[AtomicGraph]) -> list[Answer]:
        """What the potential says of several structures in one batch."""
        with torch.no_grad():
            results = self.potential(batch(graphs))
        values = {name: result.cpu().numpy() for name, result in results.items()}
        ends = np.cumsum([graph.n_atoms for graph in graphs])[:-1]
        energies, forces = np.split(values["energies"], ends), np.split(values["forces"], ends)
        outputs = {
            output.name: np.split(values[output.name], ends) if output.level == "atom" else list(values[output.name])
            for output in self.potential.config.outputs
        }
        return [
            Answer(
                energy=float(values["energy"][index]),
                energies=energies[index],
                forces=forces[index],
                virial=values["virial"][index],
                stress=values["stress"][index],
                volume=float(np.abs(np.linalg.det(graph.cell[0].cpu().numpy()))),
                outputs={name: np.asarray(each[index]) for name, each in outputs.items()},
            )
            for index, graph in enumerate(graphs)
        ]

    def answers_of(self, structures: Sequence[Atoms], *, head: str | None = None) -> list[Answer]:
        """What the potential says of several structures in one batch, all for one head."""
        return self.answers([self.graph(atoms, head=head) for atoms in structures])

    def require_same(self, what: str, got: Answer, wanted: Answer) -> None:
        """Hold two answers about structures of as many atoms to the bounds of one evaluation."""
        n_atoms = len(wanted.energies)
        require_close(f"{what}: energy (eV)", got.energy, wanted.energy, n_atoms * self.value_bound)
        require_close(f"{what}: energies of atoms (eV)", got.energies, wanted.energies, self.value_bound)
        require_close(f"{what}: forces (eV/Å)", got.forces, wanted.forces, self.value_bound)
        virial_bound = n_atoms * self.cutoff * self.value_bound
        require_close(f"{what}: virial (eV)", got.virial, wanted.virial, virial_bound)
        if got.volume and wanted.volume:
            require_close(f"{what}: stress (eV/Å³)", got.stress, wanted.stress, virial_bound / wanted.volume)
        elif not np.isnan(got.stress).all():
            raise AssertionError(f"{what}: stress without a volume must be NaN, not {got.stress.tolist()}")

    def require_signal(self, what: str, values: ArrayLike) -> None:
        """Refuse a test whose quantity is nothing."""
        largest = float(np.max(np.abs(values)))
        if not largest > self.tolerances.trivial:
            raise AssertionError(f"{what} is at most {largest:.1e}: too small for the test to mean anything")


def _enliven_outputs(potential: Potential, probe: Atoms) -> None:
    """Scale outputs so that they differ by order 1 between two random clusters; shared ones alike for all heads."""
    other = cluster(potential.cutoff, len(probe), seed=8)
    for index, head in enumerate(potential.heads):
        graphs = [graph_from_atoms(atoms, potential.cutoff, dataset=index) for atoms in (probe, other)]
        with torch.no_grad():
            results, others = (potential(graph.to(potential.device)) for graph in graphs)
        for config in potential.config.outputs:
            assert potential.outputs is not None
            output, shift = potential.outputs.output(config.name), 0.3 if config.kind == "scalar" else 0.0
            # not their size: a constant for each element would hide what the surroundings do
            size = float((results[config.name] - others[config.name]).square().mean().sqrt())
            if not (np.isfinite(size) and size > 1e-12):
                raise AssertionError(f"output {config.name!r} of random clusters differs by {size:.1e}: none to test")
            shared = config.shared and index > 0
            output.set_scale(head, float(output.scale_D[0]) if shared else 1 / size, shift)


def _enliven_last_layer(potential: Potential, probe: Atoms) -> None:
    """Give every head random uncertainties of order 1 for the elements of a cluster, other ones to each."""
    if potential.last_layer is None:
        return
    size, seen = potential.config.head_width, sorted(set(probe.symbols))
    generator = torch.Generator().manual_seed(5)
    for index, head in enumerate(potential.heads):
        random = torch.randn(2, size, size, generator=generator, dtype=torch.float64)
        floor = 0.5 if index % 2 == 0 else float("inf")
        factors = dict(zip(seen, (0.7, 1.1, 1.3, 1.9), strict=True))
        potential.last_layer.set_head(head, seen, (random[0], 1.0), (random[1], factors, floor))
        with torch.no_grad():
            results = potential(graph_from_atoms(probe, potential.cutoff, dataset=index).to(potential.device))
        energy, forces = float(results["energy_uncertainty"][0]), float(results["forces_uncertainty"].mean())
        scaled = {symbol: factor / forces for symbol, factor in factors.items()}
        potential.last_layer.set_head(head, seen, (random[0], 1 / energy), (random[1], scaled, floor))


def require_close(what: str, got: ArrayLike, wanted: ArrayLike, bound: float) -> None:
    """Raise AssertionError with the numbers where two arrays differ by more than the bound, or are not numbers."""
    got, wanted = np.asarray(got, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    if got.shape != wanted.shape:
        raise AssertionError(f"{what}: shape {got.shape} instead of {wanted.shape}")
    difference = np.abs(got - wanted)
    worst = np.unravel_index(int(np.argmax(difference)), difference.shape)
    if not difference[worst] <= bound:  # a not-a-number is not smaller
        raise AssertionError(
            f"{what}: {got[worst]:.10g} instead of {wanted[worst]:.10g}, off by {difference[worst]:.2e};"
            f" allowed are {bound:.1e}"
        )


def require_vanishing(what: str, sizes: Mapping[float, float], *, order: float, noise: float) -> None:
    """Raise AssertionError unless `sizes` (step to size) fall like step**order, by three quarters of that at least.

    Sizes below `noise` count as zero.
    """
    steps = sorted(sizes, reverse=True)
    if not all(np.isfinite(size) for size in sizes.values()):
        raise AssertionError(f"{what}: not finite: {sizes}")
    for coarse, fine in itertools.pairwise(steps):
        allowed = sizes[coarse] * (fine / coarse) ** (0.75 * order)
        if sizes[fine] > max(allowed, noise):
            raise AssertionError(
                f"{what}: {sizes[coarse]:.3e} at {coarse:.1e} Å from it, still {sizes[fine]:.3e} at {fine:.1e} Å;"
                f" at most {max(allowed, noise):.3e} is smooth (order {order})"
            )
