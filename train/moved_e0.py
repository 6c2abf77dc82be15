"""E0 for a potential that knows the rest: what it is off by at another level of theory, element by element."""

from __future__ import annotations

import json

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols

from potentials.potential import Potential
from train.data import Dataset
from train.evaluation import batches
from train.group import Group
from train.sieve import Progress

AT_MOST = 2000
"""Training structures that are looked at, spread evenly: enough for some numbers."""


def moved_e0(
    potential: Potential, dataset: Dataset, group: Group, progress: Progress | None = None
) -> dict[str, float]:
    """E0 in eV of the elements of the training split: those of its head, moved by what its energies are off by.

    Least squares of the errors per atom over the composition, deviations from their mean being as small as they can,
    as `train.e0` fits energies. What two levels of theory differ by is mostly constants of the elements: moved by
    them, the potential begins with what it knows.

    Args:
        potential: with weights and references of the head before; E0 of 0 for elements that it does not know.
        dataset: of a head of the potential.
        group: takes the numbers of its first process.
        progress: told how many structures are done.

    Raises:
        ValueError: no energy is known.
    """
    many = len(dataset.train)
    chosen = dataset.train.take(np.unique(np.linspace(0, many - 1, min(many, AT_MOST)).astype(int)))
    known = [one for one in chosen if bool(one.known["energy"].all())]
    if not known:
        raise ValueError(
            f"data set {dataset.name!r}: E0 cannot be fitted, for no training structure has an energy; write"
            ' fine_tune.references = "keep", or give e0 in the data set'
        )
    numbers = [atomic_numbers[symbol] for symbol in dataset.elements("train")]
    shares, errors = [], []
    for batch in batches(known, 2000, potential.device):
        with torch.no_grad():
            energy_G = potential(batch.graph, derivatives=False)["energy"].cpu()
        graph = batch.graph.to("cpu")
        counts_GZ = torch.zeros(graph.n_graphs, 119, dtype=torch.float64)
        counts_GZ.index_put_((graph.graph_index, graph.numbers), torch.ones(graph.n_atoms).double(), accumulate=True)
        atoms_G = counts_GZ.sum(1)
        shares.append((counts_GZ / atoms_G[:, None])[:, numbers])
        errors.append((batch.labels["energy"].cpu() - energy_G) / atoms_G)
        if progress is not None:
            progress(f"E0 of {dataset.name}", sum(map(len, errors)), len(known))
    share_SZ, error_S = torch.cat(shares).numpy(), torch.cat(errors).numpy()
    mean = float(error_S.mean())
    deviation_Z = np.linalg.lstsq(share_SZ, error_S - mean, rcond=1e-10)[0]
    before = potential.references.e0_DZ[potential.head_index(dataset.name)].tolist()
    found = {chemical_symbols[z]: before[z] + mean + float(d) for z, d in zip(numbers, deviation_Z, strict=True)}
    # each process computes the same but for rounding, and all must begin alike
    told: dict[str, float] = json.loads(group.share(json.dumps(found).encode())[0])
    return told
