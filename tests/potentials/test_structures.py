"""From Atoms to graphs, and what is refused on the way."""

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from potentials.neighbours import neighbour_list
from potentials.structures import StructureState, graph_from_atoms, structure_state


def test_a_graph_holds_the_structure() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.pbc = (True, False, True)
    atoms.info = {"charge": -1, "spin": np.float32(2), "comment": "is not read"}
    graph = graph_from_atoms(atoms, 4.0, dataset=3)
    assert (graph.n_atoms, graph.n_graphs) == (2, 1)
    assert graph.positions.tolist() == atoms.positions.tolist()
    assert graph.numbers.tolist() == [11, 17]
    assert graph.cell[0].tolist() == atoms.cell.array.tolist()
    assert graph.pbc.tolist() == [[True, False, True]]
    assert (float(graph.charge), float(graph.spin), int(graph.dataset)) == (-1.0, 2.0, 3)
    pairs = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, 4.0)
    assert graph.edge_index.tolist() == [pairs.neighbour.tolist(), pairs.centre.tolist()]
    assert graph.edge_shift.tolist() == pairs.shift.tolist()
    assert graph.edge_reverse.tolist() == pairs.reverse.tolist()
    dtypes = {graph.positions.dtype, graph.cell.dtype, graph.edge_shift.dtype, graph.charge.dtype, graph.spin.dtype}
    assert dtypes == {torch.float64}


def test_a_known_list_is_taken_as_it_is() -> None:
    atoms = molecule("H2O")
    pairs = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, 1.2)
    assert graph_from_atoms(atoms, 6.0, pairs=pairs).n_edges == 4
    assert graph_from_atoms(atoms, 6.0).n_edges == 6


def test_a_graph_shares_no_memory_with_the_structure() -> None:
    atoms = molecule("H2O")
    graph = graph_from_atoms(atoms, 3.0)
    before = graph.positions.clone()
    atoms.positions += 1.0
    atoms.cell[:] = np.eye(3)
    atoms.numbers[:] = 6
    assert torch.equal(graph.positions, before)
    assert graph.numbers.tolist() == [8, 1, 1]
    assert not graph.cell.any()


@pytest.mark.parametrize(
    ("info", "wanted"),
    [
        ({}, StructureState(0.0, 0.0)),
        ({"charge": 1}, StructureState(1.0, 0.0)),
        ({"spin": np.int64(3), "charge": "-2"}, StructureState(-2.0, 3.0)),
    ],
)
def test_charge_and_spin(info: dict[str, Any], wanted: StructureState) -> None:
    assert structure_state(Atoms("H", info=info)) == wanted


@pytest.mark.parametrize("name", ["charge", "spin"])
@pytest.mark.parametrize("value", ["neutral", None, [1, 2], float("nan"), float("inf"), 1j])
def test_charge_and_spin_that_are_no_numbers_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"atoms\.info\['{name}'\] is .*; it must be a number"):
        graph_from_atoms(Atoms("H", positions=[[0, 0, 0]], info={name: value}), 3.0)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "the structure has no atoms; remove the empty frame"),
        (
            Atoms("XH", positions=[[0, 0, 0], [0, 0, 1]]),
            r"atomic number 0 is no element; dummy atoms \(X\) have no energy",
        ),
        (Atoms(numbers=[1, 500], positions=[[0, 0, 0], [0, 0, 1]]), "atomic number 500 is no element"),
        (Atoms(numbers=[-3], positions=[[0, 0, 0]]), "atomic number -3 is no element"),
        (Atoms("H2", positions=[[1, 1, 1], [1, 1, 1]]), "atoms 0 and 1 are .* cannot be in one place"),
        (
            Atoms("H", positions=[[0, 0, 0]], pbc=True),
            r"needs a lattice vector; set atoms\.cell, or atoms\.pbc = False",
        ),
        (Atoms("H", positions=[[0, np.nan, 0]]), "position of atom 0 is .* must be finite numbers"),
    ],
)
def test_what_is_no_structure_is_refused(atoms: Atoms, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graph_from_atoms(atoms, 3.0)


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown neighbour-list back end 'cells'"):
        graph_from_atoms(molecule("H2O"), 3.0, backend="cells")
