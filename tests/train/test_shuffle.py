"""Random orders: permutations of any length, and mixtures in which nothing is lost or comes too early."""

from collections import Counter

import numpy as np
import pytest

from train.shuffle import LARGE, Order, Shuffle, tempered


@pytest.mark.parametrize("length", [1, 2, 3, 10, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 7])
def test_each_number_comes_once(length: int) -> None:
    found = Shuffle(length, [3, 1]).at(np.arange(length))
    assert np.array_equal(np.sort(found), np.arange(length))


@pytest.mark.parametrize("length", [1000, LARGE + 1000])
def test_the_key_alone_decides(length: int) -> None:
    positions = np.arange(length)
    found = Shuffle(length, [3, 1]).at(positions)
    assert np.array_equal(Shuffle(length, [3, 1]).at(positions[::-1])[::-1], found)
    assert (Shuffle(length, [3, 2]).at(positions) != found).mean() > 0.99


def test_long_orders_are_random() -> None:
    """Places and what stands there, neighbours, halves and low bits know nothing of each other: within 5 deviations."""
    length = 4 * LARGE
    found = Shuffle(length, [8]).at(np.arange(length))
    deviation = 1 / np.sqrt(length)
    assert abs(np.corrcoef(found, np.arange(length))[0, 1]) < 5 * deviation
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 5 * deviation
    assert abs((found[: length // 2] % 2).mean() - 0.5) < 5 * deviation
    counts = np.bincount(found[: length // 4] // (length // 64), minlength=64)
    expected = length / 4 / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 5 * np.sqrt(2 * 63)


def test_a_hundred_million_structures_are_no_memory() -> None:
    order = Order([90_000_000, 10_000_000], seed=0)
    assert order.length(5) == 100_000_000
    found = order.at(5, np.arange(99_990_000, 100_000_000))
    assert len(np.unique(found)) == 10_000
    assert 0.08 < (found >= 90_000_000).mean() < 0.12


def test_a_repeated_data_set_comes_as_often_as_asked() -> None:
    """Ten in every epoch, ten a quarter each time, four 2.5 times: none again before all have come."""
    order = Order([10, 10, 4], seed=1, repeats=[1.0, 0.25, 2.5])
    seen: list[int] = []
    for epoch in range(4):
        length = order.length(epoch)
        found = order.at(epoch, np.arange(length)).tolist()
        assert length == 10 + 10 + (2 if epoch % 2 == 0 else 3)
        assert sorted(number for number in found if number < 10) == list(range(10))
        of_last = Counter(number for number in found if number >= 20)
        assert set(of_last.values()) <= {2, 3}
        seen += found
    counts = Counter(seen)
    assert [counts[number] for number in range(24)] == [4] * 10 + [1] * 10 + [10] * 4


def test_positions_of_an_epoch_can_be_asked_for_in_any_order() -> None:
    order = Order([30, 70], seed=2, repeats=[0.5, 1.5])
    whole = order.at(3, np.arange(order.length(3)))
    some = np.array([7, 100, 3, 0])
    assert np.array_equal(order.at(3, some), whole[some])


def test_a_temperature_makes_shares_alike() -> None:
    counts = [9000, 900, 100]
    assert tempered(counts, 1.0) == pytest.approx([1, 1, 1])
    shares = np.array(tempered(counts, 2.0)) * counts
    assert shares.sum() == pytest.approx(10_000)
    assert shares / shares[2] == pytest.approx(np.sqrt(np.array(counts) / 100))
    assert np.array(tempered(counts, 1e9)) * counts == pytest.approx([10_000 / 3] * 3, rel=1e-6)
