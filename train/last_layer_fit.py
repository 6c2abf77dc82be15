"""Fitting `potentials.last_layer`: one pass over the training structures, one over those held back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from ase.data import chemical_symbols
from torch import Tensor

from potentials.backbones.base import N_ELEMENTS
from potentials.edges import sum_segments
from potentials.graph import AtomicGraph
from potentials.last_layer import strength
from potentials.potential import Potential
from train.config import RunConfig
from train.data import Dataset
from train.evaluation import Evaluate, batches
from train.group import ALONE, Group
from train.labelled import Labelled
from train.likelihood import FLOORS, RIDGES, Likely, Spectrum
from train.progress import Reporter
from train.structures import Structures

MAX_ATOMS = 2000
"""Evaluated at once."""

Tell = Callable[[str], None]
Progress = Callable[[str, int, int | None], None]


def fit_last_layer(
    potential: Potential,
    datasets: Sequence[Dataset],
    *,
    evaluate: Evaluate | None = None,
    group: Group = ALONE,
    tell: Tell = lambda _: None,
    progress: Progress | None = None,
) -> Potential:
    """The potential, with uncertainties by its last layer.

    The matrix of features is summed over the training structures, by forward passes alone: for energies, of the
    features of structures per atom, as the loss takes errors of energies; for forces, of the features of atoms. The
    ridge, how uncertainties of forces grow with them, and what a unit is worth in eV and eV/Å, are those that make the
    errors on the validation structures most likely, each drawn from a normal distribution of its variance. Where a data
    set has no validation structures its training structures stand in for them, whose errors are smaller, and `tell`
    hears of it.

    Args:
        potential: trained; left as it is.
        datasets: those of its heads, with the splits it was trained on; heads without a data set know no uncertainty.
        evaluate: the potential without gradients, or compiled; by default the former.
        group: processes that share the structures.
        tell: hears of what is not known and why.
        progress: told how many structures are done.

    Returns:
        A potential of the same weights that gives the `UNCERTAINTIES`, on the device of the given one.
    """
    fitted = with_last_layer(potential)
    assert fitted.last_layer is not None
    evaluate = evaluate or _without_gradients(potential)
    for dataset in datasets:
        if not dataset.of_energies:
            continue
        named = _Named(dataset.name, tell, progress)
        moments = _moments(potential, dataset.train, group, named)
        if not len(dataset.valid):
            tell(f"{dataset.name}: uncertainties are by errors on the training structures, for none were held back")
        judged = dataset.valid if len(dataset.valid) else dataset.train
        energy, forces = Spectrum.of(moments.structures), Spectrum.of(moments.atoms)
        likely = _likely(potential, evaluate, judged, (energy, forces), (group, named))
        seen = torch.nonzero(moments.count)[:, 0].tolist()
        fitted.last_layer.set_head(
            dataset.name,
            [chemical_symbols[number] for number in seen],
            _energy(energy, likely[0], named),
            _forces(forces, likely[1], seen, named),
        )
    return fitted.train(potential.training)


def with_uncertainty(
    potential: Potential,
    config: RunConfig,
    datasets: Sequence[Dataset],
    evaluate: Evaluate,
    told: tuple[Reporter, Group],
) -> Potential:
    """The potential that a run ends with: with uncertainties if the run file asks for them, and energies are learnt."""
    if not config.uncertainty.last_layer or not any(dataset.of_energies for dataset in datasets):
        return potential
    reporter, group = told
    with reporter.reading() as progress:
        return fit_last_layer(
            potential, datasets, evaluate=evaluate, group=group, tell=reporter.warn, progress=progress
        )


def with_last_layer(potential: Potential) -> Potential:
    """A copy that has a `LastLayer` which knows nothing yet."""
    config = potential.config.model_copy(update={"last_layer": True})
    made = Potential(config).to(potential.device, potential.dtype)
    fresh = {name: value for name, value in made.state_dict().items() if name.startswith("last_layer.")}
    made.load_state_dict({**potential.state_dict(), **fresh}, strict=True)
    for name, weight in potential.named_parameters():
        made.get_parameter(name).requires_grad_(weight.requires_grad)
    return made


def hidden_features(potential: Potential, graph: AtomicGraph) -> Tensor:
    """[N, H] float64: what the last layer of each atom's head is given."""
    with torch.no_grad():
        features_NF, inputs = potential.features_of(graph)
        return potential.branches.hidden(features_NF, inputs.dataset[inputs.graph_index]).double()


@dataclass(frozen=True)
class _Named:
    name: str
    tell: Tell
    progress: Progress | None

    def batches(self, what: str, structures: Structures, group: Group, device: torch.device) -> Iterable[Labelled]:
        """Those of this process, in batches."""
        own, done = structures[group.rank :: group.size], 0
        assert isinstance(own, Structures)
        for batch in batches(own, MAX_ATOMS, device):
            yield batch
            done += batch.graph.n_graphs
            if self.progress is not None:
                self.progress(f"uncertainty of {self.name}: {what}", done, len(own))


@dataclass(frozen=True)
class _Moments:
    """[H, H] Σ h hᵀ of atoms, and of structures per atom; [Z] number of atoms of each element."""

    atoms: Tensor
    structures: Tensor
    count: Tensor


def _moments(potential: Potential, structures: Structures, group: Group, named: _Named) -> _Moments:
    size, device = potential.config.head_width, potential.device
    atoms = torch.zeros(size, size, dtype=torch.float64, device=device)
    of_structures, count = torch.zeros_like(atoms), torch.zeros(N_ELEMENTS, dtype=torch.float64, device=device)
    for batch in named.batches("training structures", structures, group, device):
        hidden_NH, graph = hidden_features(potential, batch.graph), batch.graph
        mean_GH = _summed(hidden_NH, graph) / _n_atoms(graph)[:, None]
        mean_GH = mean_GH[batch.known["energy"]]
        atoms += hidden_NH.T @ hidden_NH
        of_structures += mean_GH.T @ mean_GH
        count += torch.bincount(graph.numbers, minlength=N_ELEMENTS)
    return _Moments(*(group.sum(part.cpu()) for part in (atoms, of_structures, count)))


def _likely(
    potential: Potential,
    evaluate: Evaluate,
    structures: Structures,
    spectra: tuple[Spectrum, Spectrum],
    shared: tuple[Group, _Named],
) -> tuple[Likely, Likely]:
    """Of energies, and of forces (the mean square of an atom's three components)."""
    group, named = shared
    energies, forces = Likely.nothing(len(RIDGES)), Likely.nothing(len(RIDGES) * len(FLOORS))
    slopes = FLOORS**-2.0
    spectra = (spectra[0].to(potential.device), spectra[1].to(potential.device))
    for batch in named.batches("held-back structures", structures, group, potential.device):
        with torch.no_grad():
            results = evaluate(batch.graph)
        graph, hidden_NH = batch.graph, hidden_features(potential, batch.graph)
        known_G, known_N = batch.known["energy"], batch.known["forces"]
        square_G = (results["energy"] - batch.labels["energy"])[known_G].square()
        variance_GR = spectra[0].variances(_summed(hidden_NH, graph)[known_G])
        energies.add(square_G.cpu(), variance_GR.cpu(), torch.zeros(len(square_G), dtype=torch.int64))
        square_N = (results["forces"] - batch.labels["forces"])[known_N].square().mean(1)
        strengths_NK = torch.stack([strength(results["forces"][known_N], slope) for slope in slopes.tolist()], dim=1)
        variance_NRK = spectra[1].variances(hidden_NH[known_N])[:, :, None] * strengths_NK[:, None]
        forces.add(square_N.cpu(), variance_NRK.flatten(1).cpu(), graph.numbers[known_N].cpu())
    return energies.summed(group), forces.summed(group)


def _energy(spectrum: Spectrum, likely: Likely, named: _Named) -> tuple[Tensor, float] | None:
    if not likely.counts.sum():
        named.tell(f"{named.name}: no uncertainty of energies, for no structure held back has an energy")
        return None
    which, squares_Z = likely.best()
    return spectrum.whitening(float(spectrum.ridges[which])), float(squares_Z[0].sqrt())


def _forces(
    spectrum: Spectrum, likely: Likely, seen: Sequence[int], named: _Named
) -> tuple[Tensor, dict[str, float], float] | None:
    if not likely.counts.sum():
        named.tell(f"{named.name}: no uncertainty of forces, for no structure held back has forces")
        return None
    which, squares_Z = likely.best(len(FLOORS))
    ridge, floor = divmod(which, len(FLOORS))
    factors = {chemical_symbols[number]: float(squares_Z[number].sqrt()) for number in seen}
    return spectrum.whitening(float(spectrum.ridges[ridge])), factors, float(FLOORS[floor])


def _summed(values_NH: Tensor, graph: AtomicGraph) -> Tensor:
    starts = torch.cat([graph.numbers.new_zeros(1), _n_atoms(graph).long().cumsum(0)])
    return sum_segments(values_NH, graph.graph_index, starts)


def _n_atoms(graph: AtomicGraph) -> Tensor:
    return torch.bincount(graph.graph_index, minlength=graph.n_graphs).double()


def _without_gradients(potential: Potential) -> Evaluate:
    def evaluate(graph: AtomicGraph) -> dict[str, Tensor]:
        results: dict[str, Tensor] = potential(graph)
        return results

    return evaluate
