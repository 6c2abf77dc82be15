"""Tables against the networks they stand for, the contract with tables, and what they refuse."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from potentials.backbones.ember import EmberConfig
from potentials.native import build, spline_operators
from potentials.potential import Potential, PotentialConfig
from potentials.radial_tables import BOUNDS, RadialFunction, tabulate
from potentials.testing import CONTRACT, PotentialUnderTest
from potentials.testing.samples import cluster, crystal

OF_WEIGHTS = {"weight_gradients", "symmetric_sites", "isolated_atoms"}
"""Checks of gradients of weights, of which tables have none."""

OF_EMBEDDINGS = {"elements", "charge_and_spin"}
"""Checks that change the embeddings of elements, which tables have swallowed, or take the context away."""

OF_DIFFERENCES = {"forces", "stress", "dimer_at_the_cutoff", "crossing_the_cutoff"}
"""Checks that turn the network to float64: tables then have to be made of it, not of its roundings."""


def build_potential(**settings: Any) -> Potential:
    config = EmberConfig(
        **{"cutoff": 4.0, "width": 8, "radial_size": 6, "radial_widths": (8, 8), "l_max": 2, **settings}
    )
    return Potential(PotentialConfig(backbone=config, heads=("gfn2", "emt"), head_width=8), seed=1)


@cache
def subject(dtype: torch.dtype) -> PotentialUnderTest:
    tables = build_potential().to(dtype).tabulated()
    assert tables is not None
    return PotentialUnderTest.of(tables)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype)
        for name in CONTRACT
        if name not in OF_WEIGHTS | OF_EMBEDDINGS
        for dtype in ((torch.float64,) if name in OF_DIFFERENCES else (torch.float64, torch.float32))
    ],
)
def test_contract_with_tables(name: str, dtype: torch.dtype) -> None:
    CONTRACT[name](subject(dtype))


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("settings", [{}, {"l_hidden": 2, "depth": 3}, {"l_hidden": 0}], ids=str)
def test_answers_are_those_of_the_networks(settings: dict[str, int], dtype: torch.dtype) -> None:
    potential = build_potential(**settings).to(dtype)
    tables = potential.tabulated()
    assert tables is not None
    exact, found = PotentialUnderTest.of(potential), PotentialUnderTest.of(tables)
    for atoms in (cluster(4.0, 12), crystal(4.0)):
        wanted, got = exact.answer(atoms), found.answer(atoms)
        # tables are as good as the dtype, and what is 1e-11 of a value is up to 1e-9 of its slope
        bound = max(exact.value_bound, 1e-9 * exact.energy_scale)
        assert abs(got.energies - wanted.energies).max() < bound
        assert abs(got.forces - wanted.forces).max() < 10 * bound
        assert abs(got.virial - wanted.virial).max() < 10 * len(atoms) * bound


def sine(frequency: float, cutoff: float = 4.0) -> RadialFunction:
    def function(distance_K: Tensor) -> Tensor:
        window = (1 - distance_K / cutoff) ** 3
        return (window * torch.sin(frequency * distance_K + 1))[:, None, None]

    return function


def test_the_bound_is_kept_between_the_places_that_were_checked() -> None:
    tables = tabulate(sine(5.0), 4.0, torch.zeros(1, dtype=torch.float64))
    assert 0 < tables.bound <= BOUNDS[torch.float64]
    distance = torch.linspace(0.3, 3.9999, 5001, dtype=torch.float64, requires_grad=True)
    found, slope = spline_operators.radial_from_table(tables.grid, tables.table, distance.detach())
    exact = sine(5.0)(distance)
    (exact_slope,) = torch.autograd.grad(exact.sum(), distance)
    assert float((found[:, 0] - exact[:, 0, 0]).detach().abs().max()) < 2 * BOUNDS[torch.float64]
    assert float((slope[:, 0] - exact_slope).abs().max()) < 1e3 * BOUNDS[torch.float64]


def test_functions_too_rough_for_a_table_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"too rough for tables: with 4096 knots they are off by .* use tabulate=False"
    ):
        tabulate(sine(3000.0), 4.0, torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("dtype", list(BOUNDS))
def test_kernels_are_the_sums_that_torch_makes(dtype: torch.dtype) -> None:
    assert build.library() is not None
    potential = build_potential(l_hidden=2).to(dtype)
    tables = potential.tabulated()
    assert tables is not None
    graph = PotentialUnderTest.of(potential).graph(crystal(4.0))
    with torch.no_grad():
        native = tables(graph)
        build.library.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "compiler", lambda: None)
            plain = tables(graph)
        build.library.cache_clear()
    for name, value in native.items():
        bound = 1000 * torch.finfo(dtype).eps * max(1.0, float(plain[name].abs().max()))
        assert float((value - plain[name]).abs().max()) < bound, name


def test_no_second_derivatives() -> None:
    tables = build_potential().tabulated()
    assert tables is not None
    results = tables(PotentialUnderTest.of(build_potential()).graph(crystal(4.0)))
    with pytest.raises(RuntimeError, match="once_differentiable"):
        results["forces"].square().sum().backward()


def test_backbones_without_radial_networks_have_no_tables() -> None:
    assert Potential(PotentialConfig(heads=("a",))).tabulated() is None
