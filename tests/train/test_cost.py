"""Costs of batches: laws that are known are found again; a law fitted to some batches predicts another."""

import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from train.config import RunConfig
from train.cost import FILLS, CostModel, measure, samples, seconds_on
from train.data import load_datasets
from train.progress import Reporter
from train.run import Run
from train.structures import Held

MakeConfig = Callable[..., RunConfig]

ATOMS = np.array([10, 50, 200, 200, 500, 30])
EDGES = np.array([100, 900, 2_000, 8_000, 30_000, 30])


@pytest.mark.parametrize("law", [(2e-3, 1e-5, 3e-7), (0.0, 1e-5, 3e-7), (1e-3, 0.0, 2e-6), (1e-3, 1e-4, 0.0)])
def test_a_law_is_found_again(law: tuple[float, float, float]) -> None:
    seconds = law[0] + law[1] * ATOMS + law[2] * EDGES
    found = CostModel.fit(ATOMS, EDGES, seconds)
    assert [found.step, found.atom, found.edge] == pytest.approx(law, rel=1e-6, abs=1e-12)
    assert found.seconds(ATOMS, EDGES) == pytest.approx(seconds, rel=1e-9)
    assert found.relative_error(ATOMS, EDGES, seconds) < 1e-9


def test_no_cost_is_negative() -> None:
    """Times that fall with the edges: the unbounded fit has a negative cost, the best of the others has none."""
    seconds = 1e-3 + 1e-5 * ATOMS - 1e-8 * EDGES
    found = CostModel.fit(ATOMS, EDGES, seconds)
    assert found.edge == 0
    trials = np.random.default_rng(0).uniform(0.9, 1.1, (200, 2)) * [found.step, found.atom]
    least = found.relative_error(ATOMS, EDGES, seconds)
    assert all(CostModel(*trial, 0.0).relative_error(ATOMS, EDGES, seconds) >= least for trial in trials.tolist())
    assert CostModel(found.step, found.atom, 1e-10).relative_error(ATOMS, EDGES, seconds) > least


def test_relative_errors_count_and_not_seconds() -> None:
    """One long batch that is off by a tenth does not move the short ones."""
    seconds = 1e-3 + 1e-5 * np.array([1, 10, 100, 1000, 100_000])
    seconds[-1] *= 1.1
    found = CostModel.fit([1, 10, 100, 1000, 100_000], np.zeros(5), seconds)
    assert found.seconds([1, 10], [0, 0]) == pytest.approx(seconds[:2], rel=0.03)


def test_the_relative_error_is_a_root_mean_square() -> None:
    assert CostModel(1.0, 0.0, 0.0).relative_error([1, 1], [1, 1], [2.0, 1.0]) == pytest.approx((0.25 / 2) ** 0.5)


def test_a_device_that_is_faster() -> None:
    assert CostModel(1e-3, 1e-5, 1e-6).times_faster(8.0) == CostModel(1e-3 / 8, 1e-5 / 8, 1e-6 / 8)


@pytest.mark.parametrize("costs", [(-1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, float("nan"), 1.0)])
def test_costs_that_cannot_be_are_refused(costs: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        CostModel(*costs)


@pytest.mark.parametrize("seconds", [[], [0.0], [float("inf")]])
def test_times_that_cannot_be_are_refused(seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="times above 0"):
        CostModel.fit(ATOMS[: len(seconds)], EDGES[: len(seconds)], seconds)


def test_work_on_a_device_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    module = SimpleNamespace(synchronize=waited.append)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    assert seconds_on(torch.device("cpu"), lambda: None) >= 0
    assert waited == []
    assert seconds_on(torch.device("xpu"), lambda: None) >= 0
    assert waited == [torch.device("xpu")]


def new_run(config: RunConfig) -> Run:
    return Run(config, load_datasets(config), Reporter())


def test_samples_are_of_several_sizes_and_densities_within_the_bounds(make_config: MakeConfig) -> None:
    run = new_run(make_config(batch={"max_atoms": 24, "max_edges": "none"}))
    chosen = samples(run)
    assert len(chosen) <= 3 * len(FILLS)
    sizes = [run.structures.sizes(numbers) for numbers in chosen]
    atoms = [int(size[:, 0].sum()) for size in sizes]
    assert max(atoms) == 24
    assert min(atoms) == 4
    of_one = [int(size[0, 1]) for size in sizes if len(size) == 1]
    every = run.structures.sizes(np.arange(len(run.structures)))
    assert (min(of_one), max(of_one)) == (every[:, 1].min(), every[:, 1].max())


def test_measuring_leaves_the_weights_and_tells_how_far_it_is(make_config: MakeConfig) -> None:
    run = new_run(make_config(batch={"max_atoms": 12}))
    before = [weight.detach().clone() for weight in run.potential.parameters()]
    told: list[tuple[int, int]] = []
    measured = measure(run, repeats=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(number + 1, 3 * len(measured.atoms)) for number in range(3 * len(measured.atoms))]
    assert all(torch.equal(one, other) for one, other in zip(before, run.potential.parameters(), strict=True))
    assert len(measured.atoms) == len(measured.edges) == len(measured.seconds) > 2
    assert measured.device.startswith("CPU, ")
    error = measured.model.relative_error(measured.atoms, measured.edges, measured.seconds)
    assert measured.relative_error == error


@pytest.mark.slow
def test_a_batch_that_was_not_seen_is_predicted(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a factor of 1.5: each batch is left out once, and costs are fitted to the others.

    Not so the largest and the smallest, to which the others would have to be extrapolated. Times differ by more than
    the bound, so a constant would not pass. The clock is that of the process, of one thread: other work on the machine
    is not what is tested.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr("train.cost.time.perf_counter", time.process_time)
    run = new_run(make_config(batch={"max_atoms": 512}))
    run.structures = Held(list(run.structures) * 16)
    measured = measure(run, repeats=9)
    torch.set_num_threads(threads)
    rows = np.array([measured.atoms, measured.edges, measured.seconds])
    order = np.argsort(rows[1])
    for left_out in order[1:-1].tolist():
        others = np.delete(rows, left_out, axis=1)
        atoms, edges, seconds = rows[:, left_out]
        predicted = float(CostModel.fit(*others).seconds(atoms, edges))
        assert 1 / 1.5 < predicted / seconds < 1.5
    assert rows[2].max() > 3 * rows[2].min()
