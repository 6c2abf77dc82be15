"""Counter-based random numbers: the published vectors of Philox4x32-10, statistics, independence of the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy import stats

from md_workflows.batched.dynamics.random import atom_normals, normals, philox, structure_normals
from md_workflows.batched.fleet import Fleet, fleet_of

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # "philox4x32 10" in kat_vectors of Random123
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers(counter: list[int], key: list[int], words: str) -> None:
    found = philox(torch.tensor(counter)[:, None], torch.tensor(key)[:, None])
    assert " ".join(f"{word:08x}" for word in found[:, 0].tolist()) == words


def by_hand(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds in Python's integers, which have no width."""
    (a, b, c, d), (k, m), word = counter, key, 0xFFFFFFFF
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (second >> 32) ^ b ^ k, second & word, (first >> 32) ^ d ^ m, first & word
        k, m = (k + 0x9E3779B9) & word, (m + 0xBB67AE85) & word
    return [a, b, c, d]


def test_many_at_once_are_each() -> None:
    draw = np.random.default_rng(1)
    counters, keys = (draw.integers(2**32, size=(50, words)).tolist() for words in (4, 2))
    found = philox(torch.tensor(counters).T, torch.tensor(keys).T)
    assert found.T.tolist() == [by_hand(*each) for each in zip(counters, keys, strict=True)]


def of(sizes: list[int], seeds: list[int], steps: list[int]) -> Fleet:
    fleet = fleet_of([Atoms(f"H{size}") for size in sizes], list(range(len(sizes))), CPU)
    fleet.graph.update(seed=torch.tensor(seeds), step=torch.tensor(steps))
    return fleet


def test_a_structures_numbers_are_its_own() -> None:
    """To the bit the same alone, among others and with fewer atoms; another seed, step, draw or atom: others."""
    alone = of([37], [2**40 + 5], [2**33 + 1])
    among = of([5, 1, 37, 64], [1, 2, 2**40 + 5, 3], [0, 9, 2**33 + 1, 7])
    numbers = atom_normals(alone)
    assert torch.equal(atom_normals(among)[6:43], numbers)
    assert torch.equal(atom_normals(of([11], [2**40 + 5], [2**33 + 1])), numbers[:11])
    assert torch.equal(structure_normals(among, 6)[2:3], structure_normals(alone, 6))
    others = [of([37], [5], [2**33 + 1]), of([37], [2**40 + 5], [1]), of([37], [2**40 + 5], [2**33 + 2])]
    drawn = [numbers, *(atom_normals(other) for other in others), atom_normals(alone, draw=7)]
    flat = torch.cat([each.flatten() for each in drawn] + [structure_normals(alone, 6).flatten()])
    assert len(set(flat.tolist())) == len(flat)


def test_normal_and_independent() -> None:
    """600,000 numbers: moments within 5 standard errors, the distribution by Kolmogorov and Smirnov, no correlation.

    The k-th moment of n normal numbers has the variance (m_2k - m_k²) / n, with m_2, m_4, m_6, m_8 = 1, 3, 15, 105.
    """
    fleet = of([50] * 20, list(range(20)), [0] * 20)
    steps = []
    for _ in range(200):
        steps.append(atom_normals(fleet).clone())
        fleet.graph["step"] += 1
    drawn = torch.stack(steps).view(200, 20, 50, 3).numpy()
    n = drawn.size
    assert abs(drawn.mean()) < 5 / np.sqrt(n)
    assert abs((drawn**2).mean() - 1) < 5 * np.sqrt(2 / n)
    assert abs((drawn**3).mean()) < 5 * np.sqrt(15 / n)
    assert abs((drawn**4).mean() - 3) < 5 * np.sqrt(96 / n)
    assert stats.kstest(drawn.ravel()[::10], "norm").pvalue > 1e-4
    for axis in range(4):  # of steps, seeds, atoms and components that follow each other
        moved = np.moveaxis(drawn, axis, 0)
        products = moved[1:] * moved[:-1]
        assert abs(products.mean()) < 5 / np.sqrt(products.size)
        squares = (moved[1:] ** 2 - 1) * (moved[:-1] ** 2 - 1)
        assert abs(squares.mean()) < 5 * 2 / np.sqrt(squares.size)


def test_all_words_give_finite_numbers() -> None:
    words = torch.tensor([[0, 2**32 - 1, 0, 2**32 - 1], [0, 0, 2**32 - 1, 2**32 - 1]]).repeat(2, 1)
    found = normals(words)
    assert bool(torch.isfinite(found).all())
    assert float(found.abs().max()) == pytest.approx(np.sqrt(66 * np.log(2)))
