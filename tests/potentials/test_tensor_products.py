"""Kernels against torch's own sums, their derivatives against differences, and what happens without a compiler."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ase.build import bulk
from torch import Tensor

from potentials.edges import Edges
from potentials.native import build, operators
from potentials.native.tables import ATOM_ROLES, Coupling
from potentials.spherical import real_harmonics
from potentials.structures import graph_from_atoms
from potentials.tensor_products import edge_product, product

ROUNDINGS = 1000
"""Products and sums behind one number: some 40 edges, 20 entries each."""


def coupled(l_left: int, l_right: int, l_out: int, *, apart: bool = False) -> Coupling:
    """All natural couplings; `apart` gives each path a slot of its own."""
    found = [
        (a, b, o)
        for o in range(l_out + 1)
        for a in range(l_left + 1)
        for b in range(l_right + 1)
        if abs(a - b) <= o <= a + b and (a + b + o) % 2 == 0
    ]
    left, right = tuple(range(l_left + 1)), tuple(range(l_right + 1))
    if not apart:
        return Coupling(left, right, tuple(range(l_out + 1)), tuple(found))
    return Coupling(left, right, tuple(o for _, _, o in found), tuple((a, b, n) for n, (a, b, _) in enumerate(found)))


def edges_of_crystal() -> Edges:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    return Edges.of(graph_from_atoms(atoms, 4.0))


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))


def edge_factors(coupling: Coupling, edges: Edges, channels: int, dtype: torch.dtype) -> dict[str, Tensor]:
    left, right, out = coupling.sizes
    n_atoms, n_edges, n_pairs = (len(one) for one in (edges.starts[1:], edges.centre, edges.first))
    return {
        "out": random(n_atoms, out, channels, dtype=dtype),
        "radial": random(n_pairs, len(coupling.paths), channels, dtype=dtype),
        "left": random(n_atoms, left, channels, dtype=dtype),
        "right": random(n_edges, right, dtype=dtype),
    }


def assert_close(found: Tensor, wanted: Tensor) -> None:
    bound = ROUNDINGS * torch.finfo(found.dtype).eps * float(wanted.abs().max())
    assert float((found - wanted).abs().max()) < bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 7, 16, 64, 101])  # whole registers, blocks of them, and what is left over
@pytest.mark.parametrize("coupling", [coupled(0, 3, 3), coupled(2, 3, 3), coupled(1, 2, 2, apart=True)])
def test_kernels_are_the_sums_that_torch_makes(coupling: Coupling, channels: int, dtype: torch.dtype) -> None:
    assert build.library() is not None, "the development environment has a compiler"
    edges = edges_of_crystal()
    links = operators.links_of(edges)
    factors = edge_factors(coupling, edges, channels, dtype)
    for role in operators.EDGE_ROLES:
        others = [factor for name, factor in factors.items() if name != role]
        found = torch.ops.gfm_ase.edge_form(role, coupling.key, others, links)
        assert_close(found, operators.edge_plain(role, coupling.key, others, links))
    sizes = dict(zip(("left", "right", "out"), coupling.sizes, strict=True)) | {"weight": len(coupling.paths)}
    on_atoms = {name: random(9, size, channels, dtype=dtype) for name, size in sizes.items()}
    for roles in (ATOM_ROLES, ATOM_ROLES[:3]):  # with a weight for each path, and without
        for role in roles:
            others = [on_atoms[name] for name in roles if name != role]
            found = torch.ops.gfm_ase.atom_form(role, coupling.key, others)
            assert_close(found, operators._atom_plain(role, coupling.key, others))


def test_sums_are_those_of_a_loop_over_edges_and_entries() -> None:
    coupling, edges = coupled(1, 2, 2), edges_of_crystal()
    factors = edge_factors(coupling, edges, 2, torch.float64)
    wanted = torch.zeros_like(factors["out"])
    rows, values = coupling.entries()
    ends = [one.tolist() for one in (edges.centre, edges.neighbour, edges.pair)]
    for edge, (centre, neighbour, pair) in enumerate(zip(*ends, strict=True)):
        for (a, b, o, path), value in zip(rows.tolist(), values.tolist(), strict=True):
            pull = factors["radial"][pair, path] * factors["left"][neighbour, a] * factors["right"][edge, b]
            wanted[centre, o] += value * pull
    assert_close(edge_product(coupling, factors["radial"], factors["left"], factors["right"], edges), wanted)


def test_first_and_second_derivatives() -> None:
    coupling, edges = coupled(1, 1, 1), edges_of_crystal()
    keep = 3  # three edges' worth of numbers; the rest is held fixed
    factors = edge_factors(coupling, edges, 2, torch.float64)
    few = [factors[name][:keep].clone().requires_grad_() for name in ("radial", "left", "right")]

    def summed(*varied: Tensor) -> Tensor:
        whole = [
            torch.cat([part, factors[n][keep:]]) for part, n in zip(varied, ("radial", "left", "right"), strict=True)
        ]
        return edge_product(coupling, *whole, edges)[:2]

    assert torch.autograd.gradcheck(summed, few)
    assert torch.autograd.gradgradcheck(summed, few)
    x, y = (random(2, 4, 2).requires_grad_() for _ in range(2))
    weight = random(2, len(coupling.paths), 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda left, right: product(coupling, left, right), (x, y))
    assert torch.autograd.gradgradcheck(lambda *factors: product(coupling, *factors), (x, y, weight))


def test_products_turn_with_space() -> None:
    """Products of harmonics of a direction are harmonics of it: the couplings' sums hold the right components."""
    direction = torch.nn.functional.normalize(random(5, 3), dim=1)
    harmonics = real_harmonics(direction, 3)
    coupling = coupled(3, 3, 3, apart=True)
    made = product(coupling, harmonics[:, :, None], harmonics[:, :, None])[:, :, 0]
    start = 0
    for degree in coupling.out:
        block = made[:, start : start + 2 * degree + 1]
        own = harmonics[:, degree**2 : (degree + 1) ** 2]
        ratio = (block * own).sum(1, keepdim=True) / own.square().sum(1, keepdim=True)
        assert float((block - ratio * own).abs().max()) < 1e-12
        assert float(ratio.min()) > 0.1
        start += 2 * degree + 1


def test_a_coupling_survives_its_key() -> None:
    for coupling in (coupled(2, 3, 3), coupled(3, 3, 2, apart=True)):
        assert Coupling.of(coupling.key) == coupling


@pytest.fixture
def other_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.library.cache_clear()
    yield tmp_path / "gfm-ase"
    build.library.cache_clear()


def test_the_library_is_built_once_into_a_folder_of_the_users_own(other_cache: Path) -> None:
    assert build.library() is not None
    (built,) = other_cache.iterdir()
    assert other_cache.stat().st_mode & 0o077 == 0
    made = built.stat().st_mtime_ns
    build.library.cache_clear()
    assert build.library() is not None
    assert built.stat().st_mtime_ns == made


@pytest.mark.parametrize("program", [None, "false"], ids=["no compiler", "a compiler that fails"])
def test_without_a_compiler_torch_computes(
    program: str | None, other_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coupling, edges = coupled(1, 2, 2), edges_of_crystal()
    factors = edge_factors(coupling, edges, 3, torch.float64)
    arguments = (factors["radial"], factors["left"], factors["right"], edges)
    monkeypatch.setattr(build, "compiler", lambda: program)
    assert build.library() is None
    plain = edge_product(coupling, *arguments)
    made = product(coupling, factors["left"], factors["out"])
    monkeypatch.undo()
    build.library.cache_clear()
    assert_close(edge_product(coupling, *arguments), plain)
    assert_close(product(coupling, factors["left"], factors["out"]), made)
