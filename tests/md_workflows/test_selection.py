"""Selection: structures as numbers, what is left out and why, what comes out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.io import read, write

from md_workflows import H5Writer, read_structures
from md_workflows.selection import GeometricDescriber, ModelDescriber, SelectionSettings, read_candidates, select
from md_workflows.selection.describing import batches, told_uncertainty
from md_workflows.selection.features import SIZE, graph_features, projected, structure_blocks
from md_workflows.selection.filters import closest_ratio
from md_workflows.selection.picking import SCORES
from md_workflows.structures import Unreadable
from potentials.ensemble import Ensemble
from potentials.graph import AtomicGraph
from potentials.potential import Potential, PotentialConfig
from potentials.structures import check_elements, graph_from_atoms


def rattled(count: int, symbol: str = "Cu", seed: int = 0) -> list[Atoms]:
    frames = []
    for number in range(count):
        atoms = bulk(symbol, cubic=True)
        atoms.rattle(0.1, seed=seed + number)
        atoms.info["uncertainty"] = 0.1 + 0.01 * number
        frames.append(atoms)
    return frames


def named(frames: list[Atoms]) -> list[tuple[str, Atoms]]:
    return [(f"s{number}", atoms) for number, atoms in enumerate(frames)]


def test_the_projection_keeps_distances() -> None:
    """256 random directions: a squared distance is right within a relative standard deviation of √(2/256) = 0.09."""
    rng = np.random.default_rng(3)
    one, other = ({29: rng.normal(size=60), 79: rng.normal(size=60)} for _ in range(2))
    exact = sum(float(((one[key] - other[key]) ** 2).sum()) for key in one)
    assert float(((projected(one) - projected(other)) ** 2).sum()) == pytest.approx(exact, rel=0.4)
    assert (projected({79: one[79], 29: one[29]}) == projected(one)).all()
    assert not projected({}).any()
    blocks = structure_blocks(np.array([29, 79, 29]), np.array([[1.0], [5.0], [3.0]]))
    assert {key: block.tolist() for key, block in blocks.items()} == {29: [2.0, 1.0], 79: [5.0, 0.0]}


def test_geometry_sees_the_structure_and_not_how_it_is_written() -> None:
    atoms = rattled(1)[0]
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    turned.positions += 0.7
    turned.wrap()
    turned = turned[[2, 0, 3, 1]]
    other, gold, ion = rattled(1, seed=9)[0], atoms.copy(), atoms.copy()
    gold.symbols[0] = "Au"
    ion.info["charge"] = 1
    doubled = atoms * (2, 1, 1)
    found = [each.vector for each in GeometricDescriber().describe([atoms, turned, doubled, other, gold, ion])]
    distance = [float(np.linalg.norm(found[0] - vector)) for vector in found if vector is not None]
    assert max(distance[:3]) < 1e-4  # rounding of float32 in numbers of the order of 10
    assert min(distance[3:]) > 0.05


def test_uncertainties_as_frames_hold_them(tmp_path: Path) -> None:
    frames = [bulk("Cu", cubic=True) for _ in range(4)]
    frames[0].info["uncertainty"] = 0.3
    frames[1].arrays["forces_uncertainty"] = np.array([0.1, 0.4, 0.2, 0.0])
    frames[2].calc = SinglePointCalculator(frames[2])
    frames[2].calc.results["uncertainty"] = 0.5
    told = [told_uncertainty(atoms) for atoms in frames]
    assert told[:3] == [0.3, 0.4, 0.5]
    assert math.isnan(told[3])
    write(tmp_path / "f.extxyz", frames[:2])
    assert [told_uncertainty(atoms) for atoms in read(tmp_path / "f.extxyz", ":")] == [0.3, 0.4]
    from ase.db import connect

    with connect(tmp_path / "t.db") as table:
        table.write(frames[3], uncertainty=0.7)
        table.write(frames[3])
    rows = dict(read_candidates([tmp_path / "t.db", tmp_path / "f.extxyz"]))
    told = [told_uncertainty(atoms) for atoms in rows.values() if isinstance(atoms, Atoms)]
    assert (told[0], told[2:]) == (0.7, [0.3, 0.4])
    assert math.isnan(told[1])
    assert list(dict(read_candidates([tmp_path / "t.db"], "-1"))) == [f"{tmp_path / 't.db'}:1"]
    (tmp_path / "no.db").write_text("no database")
    assert [type(one) for _, one in read_candidates([tmp_path / "no.db"])] == [Unreadable]


def test_what_is_left_out_is_counted() -> None:
    frames = rattled(9)
    frames[1].info["uncertainty"] = 5.0
    frames[2].info["uncertainty"] = 1e-4
    frames[3].positions[1] = frames[3].positions[0] + [0.9, 0, 0]
    del frames[4].info["uncertainty"]
    frames[5].info["uncertainty"] = math.inf
    frames[6].positions[0] = math.nan
    items = [*named(frames), ("broken", Unreadable("it is no file"))]
    settings = SelectionSettings(min_uncertainty=0.01, max_uncertainty=1.0)
    found = select(items, 20, settings)
    assert found.read == 10
    assert dict(found.left_out) == {
        "uncertainty too high": 1,
        "uncertainty too low": 1,
        "atoms too close": 1,
        "uncertainty unknown": 1,
        "uncertainty not finite": 1,
        "cannot be described": 2,
    }
    assert sorted(found.identifiers) == ["s0", "s7", "s8"]
    assert {choice.identifier for choice in found.chosen} == {"s0", "s7", "s8"}
    assert found.errors[1] == "broken: it is no file"
    assert len(select(items, 20, SelectionSettings(by="diversity", closest=0)).identifiers) == 7


def test_the_closest_atoms_are_those_of_all_distances() -> None:
    for atoms in (rattled(1)[0], molecule("CH3OH"), bulk("Cu") * (2, 1, 1)):
        radii = covalent_radii[atoms.numbers]
        big = atoms * [3 if repeats else 1 for repeats in atoms.pbc]
        every = np.tile(radii, len(big) // len(atoms))
        ratios = big.get_all_distances(mic=True) / (every[:, None] + every)
        smallest = ratios[ratios > 0].min()
        assert closest_ratio(atoms, 2.0) == pytest.approx(smallest)
        assert closest_ratio(atoms, 0.9 * smallest) == math.inf
    assert closest_ratio(Atoms("H"), 0.6) == math.inf


def test_the_chosen_ones_come_without_results_and_with_reasons(tmp_path: Path) -> None:
    frames = rattled(6)
    for atoms in frames:
        atoms.calc = EMT()
        atoms.get_potential_energy()
    write(tmp_path / "md.traj", frames)
    write(tmp_path / "known.extxyz", frames[:1])
    known = read_structures([tmp_path / "known.extxyz"])
    found = select(read_structures([tmp_path / "md.traj"]), 3, known=known)
    chosen = found.chosen_of(read_structures([tmp_path / "md.traj"]))
    assert [atoms.info["select_rank"] for atoms in chosen] == [1, 2, 3]
    assert all(atoms.calc is None for atoms in chosen)
    assert f"{tmp_path / 'md.traj'}:0" not in {atoms.info["identifier"] for atoms in chosen}
    place = int(found.chosen[0].identifier.rpartition(":")[2])
    assert chosen[0].info["uncertainty"] == frames[place].info["uncertainty"]
    np.testing.assert_allclose(chosen[0].positions, frames[place].positions)
    assert found.chosen[0].distance == chosen[0].info["select_distance"] > 0


def test_known_structures_beyond_a_number_are_a_random_choice_of_them() -> None:
    found = select(named(rattled(3)), 1, SelectionSettings(most_known=5), known=named(rattled(40, seed=50)))
    assert found.known.shape == (5, SIZE)
    every = GeometricDescriber().describe(rattled(40, seed=50))
    places = [
        place
        for kept in found.known
        for place, one in enumerate(every)
        if one.vector is not None and (one.vector == kept).all()
    ]
    assert len(set(places)) == 5
    assert max(places) >= 5


class Knowing:
    """A potential of random weights whose uncertainty is the number of gold atoms."""

    def __init__(self) -> None:
        self.potential = Potential(PotentialConfig(heads=("emt",))).eval()
        self.calls: list[int] = []

    def evaluate(self, graph: AtomicGraph) -> dict[str, torch.Tensor]:
        self.calls.append(graph.n_graphs)
        gold = (graph.numbers == 79).double()
        return {"uncertainty": torch.zeros(graph.n_graphs).double().index_add(0, graph.graph_index, gold)}

    def check(self, atoms: Atoms) -> None:
        check_elements(atoms)
        if "Fe" in atoms.get_chemical_symbols():
            raise ValueError("never seen Fe")


def test_a_potential_describes_in_batches_what_it_knows() -> None:
    knowing = Knowing()
    frames = rattled(5)
    frames[1].symbols[:2] = "Au"
    frames[3].symbols[0] = "Fe"
    describer = ModelDescriber(knowing.potential, knowing.evaluate, knowing.check)
    found = describer.describe(frames)
    assert [each.uncertainty for each in found if not each.error] == [0.0, 2.0, 0.0, 0.0]
    assert found[3].error == "ValueError: never seen Fe"
    together = describer.describe([*frames[:3], frames[4]])
    assert knowing.calls[-1] == 4
    for one, other in zip([*found[:3], found[4]], together, strict=True):
        assert one.vector is not None
        assert other.vector is not None
        np.testing.assert_allclose(one.vector, other.vector, atol=1e-5)
    features = graph_features(knowing.potential, graph_from_atoms(frames[0], 5.0))
    expected = projected(structure_blocks(frames[0].numbers, features))
    np.testing.assert_allclose(together[0].vector, expected, atol=1e-5)
    silent = ModelDescriber(knowing.potential, lambda graph: {}, knowing.check).describe(frames[:1])
    assert silent[0].uncertainty == frames[0].info["uncertainty"]  # a model that does not know takes the frame's word
    assert math.isnan(describer.describe(frames[:1], uncertain=False)[0].uncertainty)


def test_an_ensemble_describes_by_its_first_member_and_knows_by_its_spread() -> None:
    members = [Potential(PotentialConfig(heads=("emt",)), seed=seed).eval() for seed in (1, 2)]
    for member in members:
        member.references.set_head("emt", {"Cu": 0.0}, scale=1.0)
    ensemble = Ensemble(members).eval()

    def evaluate(graph: AtomicGraph) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return dict(ensemble(graph))

    (found,) = ModelDescriber(ensemble, evaluate, check_elements).describe(rattled(1))
    (alone,) = ModelDescriber(members[0], None, check_elements).describe(rattled(1))
    assert found.vector is not None
    np.testing.assert_allclose(found.vector, alone.vector, atol=1e-5)
    assert found.uncertainty != alone.uncertainty
    assert found.uncertainty > 0


def test_batches_are_of_atoms() -> None:
    sizes = [len(group) for group in batches([bulk("Cu", cubic=True)] * 7 + [bulk("Cu") * (5, 5, 5)] * 2, 12)]
    assert sizes == [3, 3, 1, 1, 1]


def test_what_cannot_be_chosen_from() -> None:
    bare = [bulk("Cu", cubic=True)]
    for items, count, known, told in [
        (named(rattled(2)), 0, [], "0 structures are asked for; ask for at least one"),
        ([], 1, [], "the files hold no structure"),
        (named(bare), 1, [], r"no structure has an uncertainty: give a checkpoint .* choose by diversity or at random"),
        (named(rattled(2)), 1, [("k", Atoms())], "k, which is said to be labelled already, ValueError: the structure"),
    ]:
        with pytest.raises(ValueError, match=told):
            select(items, count, known=known)
    assert set(SelectionSettings.model_fields["by"].annotation.__args__) == set(SCORES)  # type: ignore[union-attr]


def _write_groups(path: Path, groups: dict[str, list[Atoms]]) -> None:
    writer = H5Writer(path)
    for group, frames in groups.items():
        for atoms in frames:
            writer.write(atoms, group)
    writer.close()


def test_trajectories_of_many_runs_are_streamed_group_by_group(tmp_path: Path) -> None:
    frames = rattled(4)
    path = tmp_path / "many.h5"
    _write_groups(path, {"a": frames[:3], "b": frames[3:]})
    assert [name for name, _ in read_structures([path])] == [f"{path}:a:0", f"{path}:a:1", f"{path}:a:2", f"{path}:b:0"]
    last = dict(read_structures([path], "-1"))
    assert list(last) == [f"{path}:a:2", f"{path}:b:0"]
    np.testing.assert_allclose(last[f"{path}:a:2"].positions, frames[2].positions, atol=1e-6)  # type: ignore[union-attr]
    _write_groups(tmp_path / "one.h5", {"a": frames[:2]})
    assert [name for name, _ in read_structures([tmp_path / "one.h5"], "1:")] == [f"{tmp_path / 'one.h5'}:1"]
