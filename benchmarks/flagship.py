"""What EMBER costs: operations and bytes an atom, what this machine can do, and how near the two are.

    python -m benchmarks.flagship --threads 1

Energy, forces and stress with radial functions from tables, our own cutoff of 6 Å, float32, random weights; graphs are
made beforehand. Operations are counted from the couplings and the sizes of matrices, a fused multiply-add as two; bytes
are what kernels read and write beyond an edge's own scratch, each array once a kernel. The limits are measured here: a
product of two 1024 × 1024 matrices, a sum of two arrays that lie in the cache of a core, a copy of 256 MB.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from ase import Atoms
from ase.build import bulk
from rich.console import Console
from rich.table import Table

from benchmarks.machine import Timing, describe, measure
from potentials.backbones.ember import Ember, EmberConfig
from potentials.backbones.many_body import ManyBodyLayer
from potentials.compiled import CompiledPotential
from potentials.graph import AtomicGraph
from potentials.native.tables import Coupling, edge_table
from potentials.potential import Potential, PotentialConfig
from potentials.product_basis import ElementLinear
from potentials.structures import graph_from_atoms

BYTES = 4
"""Of a number in float32."""


def edge_operations(coupling: Coupling, channels: int, *, of_left: bool) -> tuple[int, int]:
    """Floating-point operations of one edge: the sum, and its first derivatives."""
    header = edge_table(coupling.key)[0][:6].tolist()
    paths, n_q, pairs = header[3:]
    spline, products, contraction = 12 * paths, n_q, 2 * pairs
    forward = spline + products + contraction
    # value and slope; along the distance; to the harmonics; to the features of the neighbour
    gradients = 2 * spline + (contraction + 2 * n_q + 2 * paths) + (products + contraction)
    gradients += contraction + 2 * n_q if of_left else 0
    return forward * channels, gradients * channels


def atom_operations(layer: ManyBodyLayer, skip: ElementLinear | None, channels: int) -> tuple[int, int]:
    """Floating-point operations of one atom in a layer: products of components, and matrix products; both ways."""
    powers = layer.products.powers
    parts = (powers.first, powers.second, powers.third, powers.last)
    entries = sum(len(coupling.entries()[1]) for coupling in parts if coupling is not None)
    components = sum(module.degree_ML.shape[0] for module in (layer.before, layer.mix, layer.after)) + 1  # the readout
    components += 0 if skip is None else len(skip.tables) ** 2
    # forward and, where it depends on positions, back: twice for a product of two factors, once for a map
    return 3 * 4 * entries * channels, 2 * 2 * components * channels**2


def bytes_of_atom(layer: ManyBodyLayer, channels: int, neighbours: float) -> float:
    """Bytes that the kernels of a layer move for one atom, forward and back."""
    left, harmonics, density = layer.coupling.sizes
    out = (layer.l_out + 1) ** 2
    per_edge = 2 * (8 + 8 + BYTES + BYTES * harmonics) + BYTES * (1 + harmonics)
    per_edge += 2 * BYTES * channels * left + BYTES * channels * density  # gathered: features, gradient of the density
    last = layer.products.powers.last
    partners = last.sizes[0] if last is not None else 0
    atoms = 12 * density + 4 * out + 6 * left + 6 * partners
    return neighbours * per_edge + BYTES * channels * atoms


def machine_limits() -> tuple[float, float, float]:
    """GFLOP/s of a matrix product, GFLOP/s of a sum of arrays in the cache, GB/s of a copy."""
    square = torch.randn(1024, 1024)
    product = measure(lambda: square @ square).fastest
    small = torch.randn(2, 100_000)
    total = torch.empty(100_000)
    added = measure(lambda: torch.add(small[0], small[1], out=total)).fastest
    large, copy = torch.randn(2**26), torch.empty(2**26)
    copied = measure(lambda: copy.copy_(large), repeats=5).fastest
    return 2 * 1024**3 / product / 1e9, 1e5 / added / 1e9, 2 * BYTES * 2**26 / copied / 1e9


def crystals(largest: int) -> dict[str, Atoms]:
    """Copper and silicon from 64 to 1,728 atoms, and one that asks for memory."""
    made = {}
    for symbol, primitive in (("Si", bulk("Si", cubic=True)), ("Cu", bulk("Cu", a=3.61))):
        for size in (2, 3, 6) if symbol == "Si" else (4, 6, 12):
            atoms = primitive * (size, size, size)
            if len(atoms) <= largest:
                made[f"{symbol} {len(atoms)}"] = atoms
    if largest >= 10_000:
        made["Cu 10,976"] = bulk("Cu", a=3.61, cubic=True) * (14, 14, 14)
    for atoms in made.values():
        atoms.rattle(0.05, seed=1)
    return made


def costs(backbone: Ember, neighbours: float) -> tuple[float, float]:
    """MFLOP and kB of one atom."""
    operations, moved = 0.0, 0.0
    for layer, skip in zip(backbone.layers, [None, *backbone.skips], strict=True):
        assert isinstance(layer, ManyBodyLayer)
        on_edges = edge_operations(
            layer.coupling, backbone.width, of_left=layer.l_in > 0 or layer is not backbone.layers[0]
        )
        operations += neighbours * sum(on_edges) + sum(atom_operations(layer, skip, backbone.width))
        moved += bytes_of_atom(layer, backbone.width, neighbours)
    return operations / 1e6, moved / 1e3


def main(
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    width: Annotated[int, typer.Option(help="Channels.")] = 64,
    l_hidden: Annotated[int, typer.Option(help="Degree of the messages.")] = 1,
    largest: Annotated[int, typer.Option(help="Leave out structures of more atoms.")] = 1728,
    compiled: Annotated[bool, typer.Option(help="Measure the compiled potential too.")] = False,
) -> None:
    """Print operations, bytes, times, and parts of the machine's limits."""
    torch.set_num_threads(threads)
    console = Console(width=150)
    dense, in_cache, copied = machine_limits()
    settings = EmberConfig(cutoff=6.0, width=width, l_hidden=l_hidden)
    tables = Potential(PotentialConfig(backbone=settings, heads=("emt",))).tabulated()
    assert tables is not None
    backbone = tables.backbone
    assert isinstance(backbone, Ember)
    modes = {"tables": tables, **({"tables, compiled": CompiledPotential(tables)} if compiled else {})}
    table = Table(
        title=f"EMBER {width} channels, l_hidden {l_hidden}, 6 Å, float32",
        caption=f"{describe()}\nlimits: {dense:.0f} GFLOP/s in a matrix product, {in_cache:.1f} in a sum within the"
        f" cache, {copied:.1f} GB/s in a copy",
    )
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for name, atoms in crystals(largest).items():
        graph = graph_from_atoms(atoms, 6.0)
        cost = costs(backbone, graph.n_edges / graph.n_atoms)
        for mode, run in modes.items():
            took = time_of(run, graph)
            table.add_row(name, mode, *row(graph, took, cost, (dense, copied)))
    console.print(table)


COLUMNS = (
    "structure",
    "mode",
    "neighbours",
    "ms/atom (best)",
    "MFLOP/atom",
    "GFLOP/s",
    "of a matrix product",
    "kB/atom",
    "GB/s",
    "of a copy",
    "peak GB",
)


def time_of(run: Callable[[AtomicGraph], object], graph: AtomicGraph) -> Timing:
    """Seconds of an evaluation."""

    def call() -> None:
        with torch.no_grad():
            run(graph)

    return measure(call, repeats=9 if graph.n_atoms < 5000 else 3, warm=2)


def row(graph: AtomicGraph, took: Timing, cost: tuple[float, float], limits: tuple[float, float]) -> list[str]:
    """What stands in the table of one structure."""
    (operations, moved), (dense, copied) = cost, limits
    seconds = took.median / graph.n_atoms
    speed, flow = operations / 1e3 / seconds, moved / 1e6 / seconds
    return [
        f"{graph.n_edges / graph.n_atoms:.1f}",
        f"{1e3 * seconds:.4f} ({1e3 * took.fastest / graph.n_atoms:.4f})",
        f"{operations:.2f}",
        f"{speed:.1f}",
        f"{speed / dense:.0%}",
        f"{moved:.0f}",
        f"{flow:.1f}",
        f"{flow / copied:.0%}",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}",
    ]


if __name__ == "__main__":
    typer.run(main)
