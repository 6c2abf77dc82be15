"""The loop: a stream is read as there is room, each structure leaves once, and none harms another."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from md_workflows import ASEEngine, RelaxSettings
from md_workflows.batched.ase_model import ASEModel
from md_workflows.batched.engine import BatchedEngine
from md_workflows.batched.sizing import MemoryMeter, Sizer, is_out_of_memory
from md_workflows.engine import engine_for, evaluate_many
from potentials.graph import AtomicGraph
from tests.md_workflows.pair_model import evaluate, pair_model

CPU = torch.device("cpu")


def copper(seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.3)
    atoms.rattle(0.02 + 0.02 * (seed % 5), seed=seed)
    return atoms


def test_a_stream_is_read_as_there_is_room() -> None:
    model = pair_model()
    model.sizer.budget, model.sizer.settled = 5 * model.cost(copper(0)), True
    taken: list[int] = []

    def stream() -> Iterator[Atoms]:
        for seed in range(40):
            taken.append(seed)
            yield copper(seed)

    came = []
    for outcome in BatchedEngine(model, "pairs").relax_many(stream(), RelaxSettings(fmax=0.02)):
        came.append(outcome.index)
        assert len(taken) - len(came) <= 5 + 1  # those on the way, and one that is held until there is room
    assert sorted(came) == list(range(40))
    assert came != sorted(came)  # who is quick leaves before who is slow


def test_what_happens_to_one_does_not_touch_the_others() -> None:
    broken = copper(1)
    broken.positions[1] = broken.positions[0]
    empty, lost, gold = Atoms(), copper(2), bulk("Au")
    lost.positions[0] = np.nan
    wrong = copper(3)
    wrong.info["charge"] = "much"
    structures = [copper(0), broken, empty, lost, gold, wrong, copper(7)]
    outcomes = {o.index: o for o in BatchedEngine(pair_model(), "pairs").relax_many(structures, RelaxSettings())}
    assert sorted(outcomes) == list(range(7))
    for index, words in ((1, "in one place"), (2, "no atoms"), (3, "finite"), (4, "never seen Au"), (5, "charge")):
        assert outcomes[index].result is None
        assert words in outcomes[index].error
        assert "\n" not in outcomes[index].error
    alone = next(BatchedEngine(pair_model(), "pairs").relax_many([copper(7)], RelaxSettings()))
    assert alone.result is not None
    for index in (0, 6):
        result = outcomes[index].result
        assert result is not None
        assert result.converged
    assert outcomes[6].result is not None
    assert outcomes[6].result.steps == alone.result.steps


def test_a_long_row_of_refused_ones_is_told_as_it_goes() -> None:
    taken: list[int] = []

    def stream() -> Iterator[Atoms]:
        for number in range(1000):
            taken.append(number)
            yield bulk("Au")
        yield copper(0)

    came = 0
    for outcome in BatchedEngine(pair_model(), "pairs").relax_many(stream(), RelaxSettings()):
        came += 1
        assert len(taken) - came <= 100
        assert (outcome.result is None) is (outcome.index < 1000)
    assert came == 1001


def test_a_calculator_that_raises_is_one_failure() -> None:
    structures = [copper(0), bulk("Fe"), copper(1)]  # EMT knows no Fe
    outcomes = list(BatchedEngine(ASEModel(EMT(), "emt"), "EMT").relax_many(structures, RelaxSettings()))
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]  # one after another
    assert "NotImplementedError" in outcomes[1].error
    assert outcomes[2].result is not None


def test_evaluation_is_a_relaxation_of_no_steps() -> None:
    structures = [copper(seed) for seed in range(3)]
    for outcome in evaluate_many(BatchedEngine(ASEModel(EMT(), "emt"), "EMT"), structures):
        assert outcome.result is not None
        atoms = structures[outcome.index].copy()
        atoms.calc = EMT()
        assert outcome.result.steps == 0
        assert outcome.result.energy == atoms.get_potential_energy()
        assert outcome.result.atoms.get_forces() == pytest.approx(atoms.get_forces())
        assert outcome.result.stress == pytest.approx(atoms.get_stress())
    assert list(evaluate_many(BatchedEngine(pair_model(), "pairs"), [])) == []


def test_memory_that_runs_out_halves_and_loses_nothing() -> None:
    """A model that can take so many atoms and no more."""
    sizes: list[int] = []

    def small(graph: AtomicGraph) -> dict[str, torch.Tensor]:
        sizes.append(graph.n_atoms)
        if graph.n_atoms > 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return evaluate(graph)

    model = pair_model()
    model._evaluate = small
    model.sizer.budget = 1e9
    structures = [copper(seed) for seed in range(16)]
    outcomes = {o.index: o for o in BatchedEngine(model, "pairs").relax_many(structures, RelaxSettings(fmax=0.02))}
    assert sorted(outcomes) == list(range(16))
    assert sizes[0] == 64
    assert sum(size > 12 for size in sizes) <= 4  # 64, 32, 16: it does not come back to these
    for index in (0, 15):
        alone = next(BatchedEngine(pair_model(), "pairs").relax_many([structures[index]], RelaxSettings(fmax=0.02)))
        assert alone.result is not None
        result = outcomes[index].result
        assert result is not None
        assert result.energy == pytest.approx(alone.result.energy, abs=1e-10)


def test_one_structure_too_many_for_memory_is_told() -> None:
    def never(graph: AtomicGraph) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = pair_model()
    model._evaluate = never
    outcome = next(BatchedEngine(model, "pairs").relax_many([copper(0)], RelaxSettings()))
    assert outcome.result is None
    assert "out of memory" in outcome.error


def test_a_model_that_breaks_on_one_structure() -> None:
    def breaks(graph: AtomicGraph) -> dict[str, torch.Tensor]:
        if (graph.numbers == 13).any():
            raise RuntimeError("not\nAl")
        return evaluate(graph)

    model = pair_model()
    model._evaluate = breaks
    structures = [copper(0), bulk("Al"), copper(1)]
    outcomes = {o.index: o for o in BatchedEngine(model, "pairs").relax_many(structures, RelaxSettings())}
    assert outcomes[1].error == "RuntimeError: not Al"
    assert outcomes[0].result is not None
    assert outcomes[2].result is not None


def test_a_budget_grows_while_it_pays() -> None:
    sizer = Sizer(CPU, budget=1000.0)
    for _ in range(40):  # 5 ms a call and 1 µs an edge: larger is better, until it hardly is
        cost = sizer.budget
        sizer.note(cost, 5e-3 + 1e-6 * cost, 0.0)
    assert sizer.settled
    assert 32_000 <= sizer.budget <= 256_000
    small = Sizer(CPU, budget=1000.0)
    small.note(1000.0, 1.0, 1e15)  # more memory than there is
    assert small.ceiling == 1000.0
    unused = Sizer(CPU, budget=1000.0)
    for _ in range(40):
        unused.note(100.0, 1.0, 0.0)  # calls that the budget does not bound tell nothing
    assert unused.budget == 1000.0


def test_memory_is_measured() -> None:
    with MemoryMeter(CPU) as memory:
        block = torch.ones(60_000_000, dtype=torch.float64)
        assert block[-1] == 1
    assert memory.used == 0 or memory.used > 400e6  # 0: something larger was there before
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


def test_which_engine_a_calculator_gets() -> None:
    class Offers:
        def batch_model(self) -> object:
            return pair_model()

    assert isinstance(engine_for(EMT()), ASEEngine)
    engine = engine_for(Offers(), "checkpoint 7")
    assert isinstance(engine, BatchedEngine)
    assert engine.identity == "checkpoint 7"
    assert engine_for(Offers()).identity == "pairs"


def test_an_optimizer_of_single_structures_is_refused() -> None:
    with pytest.raises(ValueError, match="bfgs goes by single structures; take fire or lbfgs"):
        next(BatchedEngine(pair_model(), "pairs").relax_many([copper(0)], RelaxSettings(optimizer="bfgs")))
