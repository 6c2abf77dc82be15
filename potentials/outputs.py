"""Outputs beyond the energy: scalars and vectors of atoms and of structures, for any backbone.

A scalar is a multilayer perceptron on an atom's invariant features. A vector is v_i = Σ_e w_e u_e over the edges around
the atom, w_e a smooth function of both ends' features and the distance that ends at the cutoff: it turns with the
structure whatever the backbone. Where w_e is the same from both ends, the vectors of all atoms add up to zero (forces);
where it changes sign, what one end gains the other loses (charges).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from potentials.derivatives import TensorInputs
from potentials.edges import EdgeGeometry, Edges, sum_segments
from potentials.exact import ExactBuffers
from potentials.output_config import OutputConfig
from potentials.radial import BesselBasis, polynomial_envelope

SHARED = "_shared"
"""Name of the one branch of an output that all data sets share; no data set can be called so."""

TRANSFER = "_transfer"
"""What charges hand on to the dipole; begins with `_`, so that it is no result."""


class Sizes(NamedTuple):
    """Features of an atom, and radial functions of an edge."""

    width: int
    radial: int


class Surroundings(NamedTuple):
    """What heads are told: features [N, F], data set [N], radial functions [E, B], the graph, and outputs before."""

    features_NF: Tensor
    dataset_N: Tensor
    radial_EB: Tensor
    inputs: TensorInputs
    geometry: EdgeGeometry
    edges: Edges
    before: dict[str, Tensor]

    def sum_edges(self, values: Tensor) -> Tensor:
        """[E, ...] to [N, ...] float64."""
        return self.edges.sum_to_centre(values.double())

    def sum_atoms(self, values: Tensor) -> Tensor:
        """[N, ...] to [G, ...] float64."""
        return sum_segments(values, self.inputs.graph_index, self.inputs.atom_starts)

    def n_atoms(self) -> Tensor:
        """[G] number of atoms, 1 where there is none."""
        return self.inputs.atom_starts.diff().clamp(min=1).double()


class AtomBranches(nn.Module):
    """A multilayer perceptron per data set on the features of atoms; see `SiteEnergyHeads`."""

    def __init__(self, names: Sequence[str], width: int, hidden: int, size: int) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, size)) for name in names}
        )

    def forward(self, features_NF: Tensor, dataset_N: Tensor) -> Tensor:
        """[N, F] and [N] index of the data set, to [N, size]."""
        outputs: list[Tensor] = [branch(features_NF) for branch in self.branches.values()]
        if len(outputs) == 1:
            return outputs[0]
        rows = torch.arange(len(outputs), device=dataset_N.device)
        chosen_ND = (dataset_N[:, None] == rows).to(features_NF.dtype)
        return (torch.stack(outputs, dim=1) * chosen_ND[:, :, None]).sum(1)


class PairWeights(nn.Module):
    """w_e = Σ_h a_h(centre) b_h(neighbour) f_h(distance), zero from the cutoff on, with two zero derivatives there.

    Args:
        output: settings of the output.
        names: of the branches.
        sizes: of what comes in.
        symmetry: 1 adds what the other end says, -1 subtracts it, 0 leaves it.
    """

    def __init__(self, output: OutputConfig, names: Sequence[str], sizes: Sizes, *, symmetry: int = 0) -> None:
        super().__init__()
        self.symmetry = symmetry
        self.atoms = AtomBranches(names, sizes.width, output.width, 2 * output.width)
        self.filter = nn.Linear(sizes.radial, output.width, bias=False)

    def forward(self, around: Surroundings) -> Tensor:
        """[E] weights."""
        edges = around.edges
        one_NH, other_NH = self.atoms(around.features_NF, around.dataset_N).chunk(2, dim=1)
        weight_EH = edges.gather_centre(one_NH) * edges.gather_neighbour(other_NH)
        if self.symmetry:
            swapped_EH = edges.gather_centre(other_NH) * edges.gather_neighbour(one_NH)
            weight_EH = weight_EH + self.symmetry * swapped_EH
        weight_E: Tensor = (weight_EH * self.filter(around.radial_EB)).sum(1)
        if self.symmetry:
            # products of matrices round a row by where it stands, on some processors: both ends are to say the same
            weight_E = 0.5 * (weight_E + self.symmetry * edges.swap_ends(weight_E))
        return weight_E


class Output(ExactBuffers, ABC):
    """One output; a subclass says what an atom contributes.

    Values are scaled and shifted per data set by numbers fitted to the training labels, as energies are; these are
    buffers in float64. `trained_D` tells which data sets had labels.
    """

    scale_D: Tensor
    shift_D: Tensor
    trained_D: Tensor

    def __init__(self, output: OutputConfig, heads: Sequence[str]) -> None:
        super().__init__()
        self.config, self.heads = output, tuple(heads)
        self.names = (SHARED,) if output.shared else self.heads
        self.register_buffer("scale_D", torch.ones(len(heads), dtype=torch.float64))
        self.register_buffer("shift_D", torch.zeros(len(heads), dtype=torch.float64))
        self.register_buffer("trained_D", torch.zeros(len(heads), dtype=torch.bool))

    def set_scale(self, head: str, scale: float, shift: float = 0.0) -> None:
        """Scale and shift of a data set, in the unit of the output; from then on it counts as trained."""
        assert not (shift and self.config.kind == "vector"), "a constant vector would not turn with the structure"
        row = self.heads.index(head)
        self.scale_D[row], self.shift_D[row], self.trained_D[row] = scale, shift, True

    def scaled(self, values_N: Tensor, around: Surroundings) -> Tensor:
        """[N, ...] raw to [N, ...] float64 in the unit of the output."""
        shape = (-1, *[1] * (values_N.dim() - 1))
        scale_N, shift_N = self.scale_D[around.dataset_N], self.shift_D[around.dataset_N]
        return values_N.double() * scale_N.view(shape) + shift_N.view(shape)

    @abstractmethod
    def forward(self, around: Surroundings) -> dict[str, Tensor]:
        """The output by its name."""


class Scalar(Output):
    """A number per atom, or its sum or mean over a structure."""

    def __init__(self, output: OutputConfig, heads: Sequence[str], sizes: Sizes) -> None:
        super().__init__(output, heads)
        self.atoms = AtomBranches(self.names, sizes.width, output.width, 1)

    def forward(self, around: Surroundings) -> dict[str, Tensor]:
        """See `Output.forward`."""
        values_N = self.scaled(self.atoms(around.features_NF, around.dataset_N)[:, 0], around)
        return {self.config.name: reduced(self.config, values_N, around)}


class Vector(Output):
    """A vector per atom, or its sum or mean over a structure; with `symmetry` 1 those of all atoms add up to zero."""

    def __init__(self, output: OutputConfig, heads: Sequence[str], sizes: Sizes, *, symmetry: int = 0) -> None:
        super().__init__(output, heads)
        self.pairs = PairWeights(output, self.names, sizes, symmetry=symmetry)

    def forward(self, around: Surroundings) -> dict[str, Tensor]:
        """See `Output.forward`."""
        vectors_E3 = self.pairs(around)[:, None].double() * around.geometry.direction.double()
        values_N3 = self.scaled(around.sum_edges(vectors_E3), around)
        return {self.config.name: reduced(self.config, values_N3, around)}


class Charges(Output):
    """Charges of atoms as what their neighbours pass to them, above an even share of the total charge.

    q_i = Q / n + Σ_e t_e with t_e = -t_reverse(e), so that charges add up to Q, in each cell of a supercell, and an
    atom's charge depends on what is near it. Charge passed along bonds is the idea of split charges (Nistor et al.,
    J. Chem. Phys. 125, 094108, 2006), here a learnt amount, with no energy to minimise.
    """

    def __init__(self, output: OutputConfig, heads: Sequence[str], sizes: Sizes) -> None:
        super().__init__(output, heads)
        self.pairs = PairWeights(output, self.names, sizes, symmetry=-1)

    def forward(self, around: Surroundings) -> dict[str, Tensor]:
        """See `Output.forward`; also `TRANSFER` [E], e, what each centre gets from its neighbour."""
        scale_N = self.scale_D[around.dataset_N]
        transfer_E = self.pairs(around).double() * around.edges.gather_centre(scale_N)
        share_G = around.inputs.charge / around.n_atoms()
        charges_N = around.sum_edges(transfer_E) + share_G[around.inputs.graph_index]
        return {self.config.name: charges_N, TRANSFER: transfer_E}


class Dipole(Output):
    """Dipole of a structure about the mean position of its atoms: charges times positions, plus dipoles of the atoms.

    Charges count where there is an output "charges": Σ_i q_i (r_i - mean) = -Σ_e t_e d_e u_e / 2, for the even share of
    the total charge has no dipole about the mean. Without that output the dipoles of atoms are all there is, which
    include what charges passed along edges would give. No position enters: the dipole of a neutral structure depends on
    no origin. In a periodic structure the same sum runs over the edges of one cell; it is no polarisation, and
    `GFMCalculator` does not offer it.
    """

    def __init__(self, output: OutputConfig, heads: Sequence[str], sizes: Sizes) -> None:
        super().__init__(output, heads)
        self.pairs = PairWeights(output, self.names, sizes)

    def forward(self, around: Surroundings) -> dict[str, Tensor]:
        """See `Output.forward`."""
        direction_E3 = around.geometry.direction.double()
        atoms_N3 = self.scaled(around.sum_edges(self.pairs(around)[:, None].double() * direction_E3), around)
        if TRANSFER in around.before:
            passed_E = -0.5 * around.before[TRANSFER] * around.geometry.distance.double()
            atoms_N3 = atoms_N3 + around.sum_edges(passed_E[:, None] * direction_E3)
        return {self.config.name: around.sum_atoms(atoms_N3)}


def reduced(output: OutputConfig, values_N: Tensor, around: Surroundings) -> Tensor:
    """[N, ...] to what the output is of: atoms [N, ...], or the sum or mean over each structure [G, ...]."""
    if output.level == "atom":
        return values_N
    total_G = around.sum_atoms(values_N)
    if output.extensive:
        return total_G
    return total_G / around.n_atoms().view(-1, *[1] * (total_G.dim() - 1))


KINDS: dict[str, Callable[[OutputConfig, Sequence[str], Sizes], Output]] = {"scalar": Scalar, "vector": Vector}
"""What a quantity of a kind is computed by, where its name has no rule of its own."""

RULES: dict[str, Callable[[OutputConfig, Sequence[str], Sizes], Output]] = {
    "charges": Charges,
    "dipole": Dipole,
    "direct_forces": partial(Vector, symmetry=1),
}
"""Names with a rule of their own."""


class Outputs(nn.Module):
    """All outputs of a potential beyond the energy.

    Args:
        outputs: their settings.
        heads: names of the data sets.
        width: features of an atom.
        cutoff: Å.
        radial_size: number of radial functions of the heads.
    """

    def __init__(
        self, outputs: Sequence[OutputConfig], heads: Sequence[str], width: int, cutoff: float, radial_size: int
    ) -> None:
        super().__init__()
        self.cutoff = cutoff
        sizes = Sizes(width, radial_size)
        # charges before the dipole that is made of them
        ordered = sorted(outputs, key=lambda output: output.name == "dipole")
        self.of = nn.ModuleDict(
            {output.name: RULES.get(output.name, KINDS[output.kind])(output, heads, sizes) for output in ordered}
        )
        self.radial = BesselBasis(cutoff, radial_size)

    def output(self, name: str) -> Output:
        """The output of a name."""
        module = self.of[name]
        assert isinstance(module, Output)
        return module

    def forward(
        self, features_NF: Tensor, inputs: TensorInputs, geometry: EdgeGeometry, edges: Edges
    ) -> dict[str, Tensor]:
        """[N, F] features to every output by its name: [N], [N, 3], [G] or [G, 3], float64."""
        dataset_N = inputs.dataset[inputs.graph_index]
        radial_EB = self.radial(geometry.distance, polynomial_envelope(geometry.distance, self.cutoff))
        results: dict[str, Tensor] = {}
        around = Surroundings(features_NF, dataset_N, radial_EB, inputs, geometry, edges, results)
        for output in self.of.values():
            results |= output(around)
        return {name: value for name, value in results.items() if not name.startswith("_")}
