"""Random numbers without a state: functions of a structure's seed, its step, and what they are for.

Philox4x32-10 of Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11: a counter of 128
bits goes through ten rounds under a key of 64 bits. The key is the seed; the counter is the atom's number in its
structure, the step and the draw. So a number does not depend on who else is in the fleet, and a restart needs the step
alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from md_workflows.batched.fleet import Fleet

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

ATOMS, STRUCTURES = 0, 1
"""Draws of one step: for atoms, and for structures as wholes."""


def philox(counter: Tensor, key: Tensor) -> Tensor:
    """[4, M] words below 2³² of a counter [4, M] and a key [2, M] of such words, all int64.

    Products of two words wrap around as int64; their bits are those of the unsigned product.
    """
    device = counter.device
    even, odd = counter[0::2], counter[1::2]
    multipliers = torch.tensor(_MULTIPLIERS, device=device)[:, None]
    rounds = torch.arange(ROUNDS, device=device)[:, None] * torch.tensor(_WEYL, device=device)
    keys = (key + rounds[:, :, None]) & _WORD
    for this in keys:
        product = even * multipliers
        high = (product >> 32).bitwise_and_(_WORD).flip(0)
        even, odd = high.bitwise_xor_(odd).bitwise_xor_(this), product.bitwise_and_(_WORD).flip(0)
    return torch.stack([even[0], odd[0], even[1], odd[1]])


def normals(words: Tensor) -> Tensor:
    """[4, M] independent standard normal numbers of words [4, M]: Box & Muller, Ann. Math. Stat. 29, 610 (1958).

    Words of 32 bits reach to 6.7 standard deviations, beyond which one of 10¹¹ normal numbers lies.
    """
    uniform = (words.double() + 0.5) * 2.0**-32
    radius = uniform[0::2].log().mul_(-2).sqrt_()
    angle = uniform[1::2] * (2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()])


def atom_normals(fleet: Fleet, draw: int = ATOMS) -> Tensor:
    """[N, 3] of each atom, for this step."""
    first = fleet.of_atoms(fleet.starts()[:-1])
    number = torch.arange(fleet.n_atoms, device=fleet.device) - first
    seed, step = fleet.of_atoms(fleet.graph["seed"]), fleet.of_atoms(fleet.graph["step"])
    return _draw(seed, step, number, draw)[:3].T


def structure_normals(fleet: Fleet, count: int, draw: int = STRUCTURES) -> Tensor:
    """[G, count] of each structure, for this step."""
    blocks = -(-count // 4)
    number = torch.arange(blocks, device=fleet.device).repeat(fleet.n_structures)
    seed, step = (fleet.graph[name].repeat_interleave(blocks) for name in ("seed", "step"))
    drawn = _draw(seed, step, number, draw)
    return drawn.T.reshape(fleet.n_structures, 4 * blocks)[:, :count]


def _draw(seed: Tensor, step: Tensor, number: Tensor, draw: int) -> Tensor:
    """[4, M] normal numbers."""
    counter = torch.stack([number, step & _WORD, (step >> 32) & _WORD, torch.full_like(number, draw)])
    return normals(philox(counter, torch.stack([seed & _WORD, (seed >> 32) & _WORD])))
