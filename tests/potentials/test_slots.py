"""Paths between kinds of features, and mixtures of slots against sums written out."""

import itertools

import numpy as np
import torch
from torch import Tensor

from potentials.slots import SCALAR, Kind, SlotMixture, edge_coupling, natural_kinds, select
from potentials.spherical import clebsch_gordan


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def test_paths_are_those_that_inversion_allows() -> None:
    """Each path to a slot of its own: the sign of inversion of the three factors must cancel."""
    left = [Kind(0), Kind(1), Kind(1, pseudo=True), Kind(2)]
    out = [SCALAR, Kind(0, pseudo=True), Kind(1), Kind(1, pseudo=True)]
    coupling, kinds = edge_coupling(left, 2, out)

    def sign(kind: Kind) -> int:
        return (-1) ** kind.degree * (-1 if kind.pseudo else 1)

    wanted = {
        (slot, degree, kind)
        for (slot, one), degree, kind in itertools.product(enumerate(left), range(3), out)
        if np.any(clebsch_gordan(one.degree, degree, kind.degree)) and sign(one) * (-1) ** degree == sign(kind)
    }
    assert {(a, b, kinds[o]) for a, b, o in coupling.paths} == wanted
    assert [o for _, _, o in coupling.paths] == list(range(len(kinds)))
    assert kinds == sorted(kinds)
    assert coupling.out == tuple(kind.degree for kind in kinds)
    assert {(2, 1, Kind(0, pseudo=True)), (1, 1, Kind(1, pseudo=True)), (2, 1, Kind(1))} < wanted


def test_slots_of_one_kind_are_mixed_into_one() -> None:
    slots = [SCALAR, SCALAR, Kind(1), Kind(1), Kind(1), Kind(1, pseudo=True)]
    mixture = SlotMixture(slots, 3, {SCALAR: 2}).double()
    features = random(5, 14, 3)
    scalar, vector, pseudo = (weight.detach() for weight in mixture.weights)
    parts = mixture.parts(features)
    torch.testing.assert_close(parts[SCALAR][:, 0], features[:, 0] @ scalar[:3] + features[:, 1] @ scalar[3:])
    vectors = features[:, 2:11].reshape(5, 3, 3, 3)
    wanted = sum(vectors[:, path] @ vector[3 * path : 3 * path + 3] for path in range(3))
    torch.testing.assert_close(parts[Kind(1)], wanted)
    torch.testing.assert_close(parts[Kind(1, pseudo=True)], features[:, 11:] @ pseudo)
    assert mixture.double().parts(features).keys() == set(slots)
    narrow = SlotMixture(slots, 3).double()
    torch.testing.assert_close(narrow(features), torch.cat(list(narrow.parts(features).values()), dim=1))


def test_results_of_unit_components_are_of_unit_size() -> None:
    torch.manual_seed(1)
    slots = [SCALAR, Kind(1), Kind(1)]
    found = SlotMixture(slots, 64, dict.fromkeys(slots, 200), gain=0.5)(torch.randn(300, 7, 64)).detach()
    for part in (found[:, :1], found[:, 1:]):
        assert abs(float(part.std()) - 0.5) < 0.05


def test_selected_slots() -> None:
    features, kinds = random(2, 9, 3), natural_kinds(2)
    assert select(features, kinds, kinds) is features
    torch.testing.assert_close(select(features, kinds, [Kind(0), Kind(2)]), features[:, [0, 4, 5, 6, 7, 8]])
