"""The sum of gradients leaves while the pass back goes on, in the same pieces on all processes."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from potentials.backbones.painn import PaiNNConfig
from potentials.output_config import OutputConfig
from potentials.potential import Potential, PotentialConfig
from tests.train.test_recomputing import mixed
from train.buckets import Buckets
from train.config import LossConfig, RunConfig
from train.data import load_datasets
from train.division import Division
from train.group import Group
from train.labelled import Labelled, batch_labelled
from train.progress import Reporter
from train.run import Run
from train.shared_step import shared_step
from train.step import LossAndGradients
from train.tasks import tasks_of

MakeConfig = Callable[..., RunConfig]


class Recording(Group):
    """Two processes, of which the other adds nothing; it writes down what is sent, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 2
        self.events: list[str] = []
        self.sent: list[Tensor] = []

    def sum_later(self, tensor: Tensor) -> Callable[[], None]:
        """See `Group`."""
        self.events.append("sent")
        self.sent.append(tensor)
        return lambda: self.events.append("waited")


@pytest.fixture
def run(make_config: MakeConfig, write_molecules: Callable[[int], str]) -> Run:
    datasets: list[dict[str, Any]] = [
        {"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz"},
        {"name": "molecules", "train": write_molecules(6)},
    ]
    config = make_config(dataset=datasets)
    made = Run(config, load_datasets(config), Reporter())
    made.potential.double()
    return made


def parts(run: Run) -> list[Labelled]:
    return [batch_labelled(run.structures[:3]), run.structures[-1]]


def watch(run: Run, events: list[str]) -> None:
    """Write down each gradient of a weight as it is computed."""
    for name, weight in run.potential.named_parameters():
        weight.register_hook(lambda gradient, name=name: events.append(name))


@pytest.mark.parametrize("recompute", [False, True])
def test_pieces_leave_before_the_last_gradient_is_computed(
    recompute: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.buckets.BUCKET_BYTES", 1000)
    run.potential.backbone.recompute_layers(recompute)
    group = Recording()
    # the first time it does not know which weights have no gradient
    shared_step(run.step, parts(run)[:1], Division(run.potential, group))
    group.events.clear()
    watch(run, group.events)
    shared_step(run.step, parts(run), Division(run.potential, group))
    names = set(run.optimizer.names)
    last = max(number for number, event in enumerate(group.events) if event in names)
    before = group.events[:last].count("sent")
    assert before > 3
    assert group.events.index("waited") > last
    # of the first batch, which only adds, nothing is sent
    first = group.events[: group.events.index("sent")]
    assert max(map(first.count, names)) == 2


def test_sizes_of_pieces_do_not_matter(run: Run) -> None:
    parameters = list(run.potential.parameters())
    several = parts(run)
    totals = sum((run.step.totals(batch) for batch in several), torch.zeros(3, dtype=torch.float64))
    whole = shared_step(run.step, several, run.division).result.gradients
    counts = []
    for limit in (1, 700, 5000, 10**9):
        group = Recording()
        buckets = Buckets(
            parameters, Division(run.potential, group).sharers(len(parameters)), run.optimizer.rows, limit
        )
        buckets.add(run.step(several[0], None, totals).gradients)
        run.step(several[1], None, totals, buckets.complete)
        for one, other in zip(buckets.sums(), whole, strict=True):
            assert torch.allclose(one, other, rtol=1e-12, atol=1e-15)
        sizes = [tensor.nbytes for tensor in group.sent]
        assert all(one <= max(limit, *(weight.nbytes for weight in parameters)) for one in sizes)
        counts.append(len(sizes))
    assert counts[0] == len(parameters)
    assert counts[-1] == 1
    assert all(one > other for one, other in pairwise(counts))


def test_only_rows_of_elements_that_there_are_leave(run: Run) -> None:
    parameters = list(run.potential.parameters())
    sent = []
    for rows in (None, run.optimizer.rows):
        group = Recording()
        result = shared_step(run.step, parts(run), Division(run.potential, group), None, rows).result
        assert [gradient.shape for gradient in result.gradients] == [weight.shape for weight in parameters]
        sent.append((sum(tensor.numel() for tensor in group.sent), result.gradients))
    (all_numbers, whole), (numbers, some) = sent
    elements = {int(number) for part in run.structures[:] for number in part.graph.numbers}
    width = run.potential.backbone.width
    assert all_numbers == sum(weight.numel() for weight in parameters)
    assert all_numbers - numbers == (119 - len(elements)) * width
    for one, other in zip(some, whole, strict=True):
        assert torch.equal(one, other)


def test_a_process_without_a_batch_sends_the_same_pieces(run: Run) -> None:
    shapes = []
    for batches in (parts(run), parts(run)[:1], []):
        group = Recording()
        shared_step(run.step, batches, Division(run.potential, group), None, run.optimizer.rows)
        shapes.append([tensor.shape for tensor in group.sent])
    assert shapes[0] == shapes[1] == shapes[2]


def test_weights_without_a_gradient_hold_nothing_up() -> None:
    """Heads of an output that does not count come first of all, and the loss does not depend on them."""
    output = OutputConfig(name="gap", level="graph", kind="scalar")
    config = PotentialConfig(backbone=PaiNNConfig(cutoff=4.0, width=8), heads=("one", "other"), outputs=(output,))
    potential = Potential(config)
    step = LossAndGradients(potential, tasks_of(LossConfig(), ()), (1.0, 1.0), compiled=False)
    told: list[list[int]] = []
    for _ in range(2):
        told.append([])
        result = step(mixed(), None, None, lambda number, gradient: told[-1].append(number))
        assert sorted(told[-1]) == list(range(len(result.gradients)))
    silent = [number for number, (name, _) in enumerate(potential.named_parameters()) if name.startswith("outputs.")]
    assert silent
    assert told[0][-len(silent) :] == silent
    assert told[1][: len(silent)] == silent
