"""How long sums over all processes take: latency and bandwidth, inside nodes and between them.

A message of n bytes takes α + n / B. Of p processes that add up n bytes each:

    ring      2 (p - 1) α + 2 (p - 1) / p · n / B     best for long messages and few processes
    tree      2 ⌈log2 p⌉ (α + n / B)                  one binary tree, up and down, not pipelined
    halving   2 ⌈log2 p⌉ α + 2 (p - 1) / p · n / B    recursive halving and doubling (Rabenseifner)

Thakur, Rabenseifner and Gropp, Int. J. High Perform. Comput. Appl. 19, 49 (2005); the additions are left out.
"""

from __future__ import annotations

import math
from typing import Literal, cast, get_args

from train.plan.machines import Machine

Reduction = Literal["hierarchical", "ring"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)

WORD = 4
"""Bytes of a gradient in float32."""


def check_reduction(text: str) -> Reduction:
    """A way of summing by its name.

    Raises:
        ValueError: there is none of that name.
    """
    if text not in REDUCTIONS:
        raise ValueError(f"--reduction {text}: it must be {' or '.join(REDUCTIONS)}")
    return cast(Reduction, text)


def ring(ranks: int, size: float, latency: float, bandwidth: float) -> float:
    """Seconds of a ring over so many processes for `size` bytes."""
    return 2 * (ranks - 1) * latency + 2 * (ranks - 1) / ranks * size / bandwidth


def tree(ranks: int, size: float, latency: float, bandwidth: float) -> float:
    """Seconds of one binary tree."""
    return 2 * math.ceil(math.log2(ranks)) * (latency + size / bandwidth)


def halving(ranks: int, size: float, latency: float, bandwidth: float) -> float:
    """Seconds of recursive halving and doubling."""
    return 2 * math.ceil(math.log2(ranks)) * latency + 2 * (ranks - 1) / ranks * size / bandwidth


def all_reduce(machine: Machine, ranks: int, size: float, how: Reduction = "hierarchical") -> float:
    """Seconds in which processes that fill nodes one after the other add up `size` bytes each.

    "hierarchical": reduce-scatter inside each node, each device adds up its part with those of the other nodes by
    whichever is faster, ring, tree or halving, and all-gather inside. "ring": one ring through all processes, of which
    each node is passed once: latencies of all, the bandwidth of the slower link.

    Args:
        machine: its links.
        ranks: processes.
        size: bytes of each.
        how: as above.
    """
    inside, between = machine.inside * machine.attained, machine.between * machine.attained
    nodes, local = machine.nodes_of(ranks), min(ranks, machine.ranks_per_node)
    if nodes == 1:
        return ring(local, size, machine.latency_inside, inside)
    if how == "ring":
        latency = nodes * machine.latency_between + (ranks - nodes) * machine.latency_inside
        return 2 * latency * (ranks - 1) / ranks + 2 * (ranks - 1) / ranks * size / min(inside, between)
    part, share = size / local, between / local
    fastest = min(each(nodes, part, machine.latency_between, share) for each in (ring, tree, halving))
    return ring(local, size, machine.latency_inside, inside) + fastest
