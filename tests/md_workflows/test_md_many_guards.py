"""Guards: each stops the structure it is about, keeps its last good frame, and lets the others go on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read
from torch import Tensor

from md_workflows import MDGuards, MDSettings, run_md_many
from md_workflows.batched.models import GraphModel
from md_workflows.md_many import MDOutcome
from potentials.graph import AtomicGraph
from tests.md_workflows.pair_model import CUTOFF, evaluate
from tests.md_workflows.test_md_many import ordered

SETTINGS = MDSettings(
    ensemble={"name": "nve"}, steps=40, timestep_fs=2.0, initial_temperature_K=300.0, trajectory_interval=1
)


FAR = 1.9  # Å along x, where no atom of the crystals begins


def crystals() -> list[Atoms]:
    """Three; the one in the middle, of silver, is the one that models are bad for."""
    found = [bulk(symbol, a=3.5, cubic=True) for symbol in ("Cu", "Ag", "Cu")]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.05, seed=seed)
    return found


def model(kind: str) -> GraphModel:
    """A pair potential that goes wrong for silver, in one of the ways."""

    def bad(graph: AtomicGraph) -> dict[str, Tensor]:
        results = evaluate(graph)
        silver = (graph.numbers == 47)[:, None]
        of_silver = torch.zeros(graph.n_graphs, dtype=torch.bool).index_fill(0, graph.graph_index[silver[:, 0]], 1)
        heat = torch.where(silver, 3 * graph.positions.frac(), 0.0)
        furthest = torch.zeros(graph.n_graphs, dtype=torch.float64)
        furthest.scatter_reduce_(0, graph.graph_index, graph.positions[:, 0], "amax")
        lost = torch.where(of_silver & (furthest > FAR), torch.nan, 0.0)
        changes = {
            "heats": {"forces": results["forces"] + heat},
            "pulls": {"forces": torch.where(silver, _together(graph), results["forces"])},
            "loses": {"energy": results["energy"] + lost},
        }
        return results | changes[kind]

    return GraphModel(bad, CUTOFF, device=torch.device("cpu"), identity=kind, check=lambda _: None)


def _together(graph: AtomicGraph) -> Tensor:
    """Forces on all atoms of a structure towards its first."""
    first = torch.searchsorted(graph.graph_index, graph.graph_index)
    return 4 * (graph.positions[first] - graph.positions)


def run(kind: str, guards: MDGuards | list[MDGuards] | None, files: Path | None = None) -> list[MDOutcome]:
    return ordered(list(run_md_many(crystals(), SETTINGS, calculator=model(kind), guards=guards, files=files)))


@pytest.mark.parametrize(
    ("kind", "guards", "words"),
    [
        ("heats", MDGuards(max_drift_eV_per_atom=0.05), "conserved energy drifted by"),
        ("heats", MDGuards(max_temperature_K=2500), "temperature reached"),
        ("pulls", MDGuards(min_distance_of_radii=0.5), "closer than 0.5 of their covalent radii"),
        ("loses", None, "energy or forces are not finite"),
    ],
)
def test_each_guard_stops_its_own(kind: str, guards: MDGuards | None, words: str, tmp_path: Path) -> None:
    bad, unguarded = run(kind, guards, tmp_path / "out"), run("heats" if kind == "loses" else kind, None)
    for outcome, other in ((bad[0], unguarded[0]), (bad[2], unguarded[2])):
        assert (outcome.steps, outcome.stopped) == (40, "")
        np.testing.assert_allclose(outcome.atoms.positions, other.atoms.positions, rtol=0, atol=1e-11)
    stopped = bad[1]
    assert words in stopped.stopped
    assert stopped.stopped.startswith(f"step {stopped.steps + 1}: ")
    assert 0 < stopped.steps < 39
    frames = read(tmp_path / "out" / "000001.extxyz", index=":")
    assert [frame.info["step"] for frame in frames] == list(range(stopped.steps + 1))
    kept = read(tmp_path / "out" / "000001.last_good.extxyz")
    np.testing.assert_allclose(kept.positions, stopped.atoms.positions, atol=1e-8)
    np.testing.assert_allclose(kept.get_momenta(), frames[-1].get_momenta(), atol=1e-8)
    assert kept.get_potential_energy() == pytest.approx(stopped.energies.potential, abs=1e-7)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.last_good.extxyz")) == ["000001.last_good.extxyz"]
    assert _quiet(stopped.atoms, guards)


def _quiet(atoms: Atoms, guards: MDGuards | None) -> bool:
    """Whether a frame is within the limits that can be read off it."""
    if guards is None or guards.max_temperature_K is None:
        return True
    return bool(atoms.get_temperature() <= guards.max_temperature_K)


def test_each_has_its_own_limits() -> None:
    outcomes = run("heats", [MDGuards(), MDGuards(), MDGuards(max_temperature_K=1.0)])
    assert [bool(outcome.stopped) for outcome in outcomes] == [False, False, True]
    assert outcomes[2].atoms is None  # it began beyond its limit
    assert outcomes[2].stopped.startswith("step 0: the temperature reached")


def test_a_quiet_run_is_left_alone() -> None:
    all_of_them = MDGuards(max_drift_eV_per_atom=0.05, min_distance_of_radii=0.5, max_temperature_K=2500)
    outcomes = list(run_md_many(crystals(), SETTINGS, calculator=EMT(), guards=all_of_them))
    assert [outcome.stopped for outcome in outcomes] == [""] * 3


def test_atoms_that_meet_exactly_have_collided() -> None:
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 3.0]])
    atoms.set_momenta([[0, 0, 0], [0, 0, -63.546 * 0.5]])
    settings = MDSettings(ensemble={"name": "nve"}, steps=20, timestep_fs=3.0 / 0.5 / 0.09822694788464063 / 10)

    class Free(EMT):
        def calculate(self, *arguments: object, **named: object) -> None:
            super().calculate(*arguments, **named)
            self.results["forces"] = np.zeros((2, 3))

    (outcome,) = run_md_many(atoms, settings, calculator=Free(), guards=MDGuards(min_distance_of_radii=0.01))
    assert outcome.stopped.startswith("step 10: ")
    assert outcome.steps == 9
