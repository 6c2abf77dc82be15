"""Several batches as one: the gradient of one loss, divided once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from train.config import RunConfig
from train.data import load_datasets
from train.guard import TrainingError
from train.labelled import Labelled, batch_labelled
from train.progress import Reporter
from train.run import Run
from train.shared_step import shared_step

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def run(make_config: MakeConfig, write_molecules: Callable[[int], str]) -> Run:
    """Alloys, and molecules without stress: labels of which parts have different numbers."""
    datasets: list[dict[str, Any]] = [
        {"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz"},
        {"name": "molecules", "train": write_molecules(6), "weight": 3.0},
    ]
    config = make_config(dataset=datasets)
    made = Run(config, load_datasets(config), Reporter())
    made.potential.double()
    return made


def parts(run: Run) -> list[Labelled]:
    alloys, molecules = run.structures[:3], run.structures[-3:]
    return [batch_labelled(alloys), molecules[0], batch_labelled(molecules[1:])]


def test_several_batches_are_one(run: Run) -> None:
    several = parts(run)
    whole = run.step(batch_labelled(several))
    shared = shared_step(run.step, several, run.division)
    assert (shared.structures, shared.atoms) == (6, sum(part.graph.n_atoms for part in several))
    assert torch.allclose(shared.result.terms, whole.terms, rtol=1e-12)
    assert shared.result.known.equal(whole.known)
    for name, one, other in zip(run.optimizer.names, shared.result.gradients, whole.gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-14), name
    # what a mean over batches would give is another loss
    mean = torch.stack([run.step(part).terms for part in several]).mean(0)
    assert not torch.allclose(mean, whole.terms, rtol=0.01)


def test_factors_weigh_the_terms_of_all(run: Run) -> None:
    several = parts(run)
    factors = torch.tensor([0.5, 2.0, 4.0], dtype=torch.float64)
    bare, weighed = (shared_step(run.step, several, run.division, given).result.terms for given in (None, factors))
    assert torch.allclose(weighed, bare * factors, rtol=1e-12)


def test_the_part_that_is_not_finite_is_named(run: Run) -> None:
    several = parts(run)
    graph = several[1].graph
    several[1] = replace(several[1], graph=replace(graph, positions=graph.positions * float("nan")))
    with pytest.raises(TrainingError, match=f"predictions are not finite for {several[1].source[0]}; look at"):
        shared_step(run.step, several, run.division)


def test_a_process_without_a_batch_has_gradients_of_zero(run: Run) -> None:
    result = shared_step(run.step, [], run.division).result
    assert not any(gradient.any() for gradient in result.gradients)
    assert not result.known.any()
