"""Branches and the context of charge and spin."""

import pytest
import torch

from potentials.heads import SiteEnergyHeads, StructureContext


def heads(*names: str) -> SiteEnergyHeads:
    torch.manual_seed(0)
    return SiteEnergyHeads(names, width=6, hidden=5).double()


def test_each_atom_is_answered_by_the_branch_of_its_data_set() -> None:
    module, features = heads("a", "b", "c"), torch.randn(7, 6, dtype=torch.float64)
    dataset = torch.tensor([2, 0, 1, 1, 0, 2, 2])
    got = module(features, dataset)
    for atom, branch in enumerate(dataset.tolist()):
        alone = list(module.branches.values())[branch](features[atom])
        torch.testing.assert_close(got[atom], alone[0], rtol=0, atol=1e-14)
    assert len(set(module(features[:1].expand(3, 6), torch.arange(3)).tolist())) == 3


def test_one_branch_alone() -> None:
    module, features = heads("a"), torch.randn(4, 6, dtype=torch.float64)
    assert torch.equal(module(features, torch.zeros(4, dtype=torch.int64)), module.branches["a"](features)[:, 0])


def test_an_unused_branch_has_a_gradient_of_zero_not_none() -> None:
    """On every rank the same tensors are reduced, whatever data sets its batch holds."""
    module, features = heads("a", "b"), torch.randn(4, 6, dtype=torch.float64)
    output = module(features, torch.zeros(4, dtype=torch.int64))
    gradients = torch.autograd.grad(output.square().sum(), list(module.parameters()), allow_unused=False)
    for (name, _), gradient in zip(module.named_parameters(), gradients, strict=True):
        assert bool((gradient == 0).all()) == ("branches.b" in name), name


def test_an_unused_branch_has_a_second_gradient_of_zero_too() -> None:
    """The loss of forces goes through the derivative of the energy."""
    module = heads("a", "b")
    features = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    output = module(features, torch.ones(4, dtype=torch.int64))
    (force,) = torch.autograd.grad(output.sum(), features, create_graph=True)
    weights = {name: weight for name, weight in module.named_parameters() if not name.endswith("2.bias")}
    gradients = torch.autograd.grad(force.square().sum(), list(weights.values()), allow_unused=False)
    for name, gradient in zip(weights, gradients, strict=True):
        assert bool((gradient == 0).all()) == ("branches.a" in name), name


def context() -> StructureContext:
    torch.manual_seed(1)
    return StructureContext(6).double()


GRAPH_INDEX = torch.tensor([0, 0, 1, 1, 1, 1])


def test_neutral_structures_get_exactly_nothing() -> None:
    zero = torch.zeros(2, dtype=torch.float64)
    assert torch.equal(context()(zero, zero, GRAPH_INDEX), torch.zeros(6, 6, dtype=torch.float64))


def test_charge_and_spin_enter_per_atom() -> None:
    """Twice the charge on twice the atoms is the same to each; charge, its sign and spin are told apart."""
    charge, spin = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([2.0, 4.0], dtype=torch.float64)
    module = context()
    both = module(charge, spin, GRAPH_INDEX)
    torch.testing.assert_close(both, both[:1].expand(6, 6), rtol=0, atol=1e-14)
    others = [
        module(charge, 0 * spin, GRAPH_INDEX),
        module(-charge, 0 * spin, GRAPH_INDEX),
        module(0 * charge, spin, GRAPH_INDEX),
    ]
    for other in others:
        assert float((other - both).detach().abs().max()) > 1e-3
        assert float(other.detach().abs().max()) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_context_has_the_dtype_of_the_network(dtype: torch.dtype) -> None:
    one = torch.ones(2, dtype=torch.float64)
    assert context().to(dtype)(one, one, GRAPH_INDEX).dtype == dtype
