"""Half-widths from raw uncertainties, by a record that is JSON and nothing else."""

import numpy as np
import pytest
import torch
from ase.build import molecule
from pydantic import ValidationError

from potentials.calibration import HeadCalibration, Intervals, QuantityCalibration, half_widths
from potentials.graph import AtomicGraph, batch
from potentials.structures import graph_from_atoms

FORCES = QuantityCalibration(
    floor=0.03,
    factors={"0.9": {"H": 2.0, "O": 3.0, "*": 5.0}, "0.5": {"*": 1.0}},
    structures={"H": 40, "O": 40, "*": 50},
    values={"H": 240, "O": 120, "*": 400},
)
ENERGY = QuantityCalibration(floor=0.01, factors={"0.9": {"*": 2.0}}, structures={"*": 50}, values={"*": 50})
HEAD = HeadCalibration(quantities={"energy": ENERGY, "forces": FORCES}, fingerprint="abc")


def two_molecules() -> AtomicGraph:
    return batch([graph_from_atoms(molecule(name), 4.0) for name in ("H2O", "CO2")])


def raw(graph: AtomicGraph) -> dict[str, torch.Tensor]:
    return {
        "energy": torch.tensor([1.0, 2.0], dtype=torch.float64),
        "energy_uncertainty": torch.tensor([0.04, 0.0], dtype=torch.float64),
        "forces_uncertainty": torch.linspace(0.0, 0.04, graph.n_atoms, dtype=torch.float64),
        "stress_uncertainty": torch.tensor([0.1, 0.1], dtype=torch.float64),
        "uncertainty": torch.tensor([9.0, 9.0], dtype=torch.float64),
    }


def test_a_half_width_is_the_factor_of_the_element_times_uncertainty_and_floor_in_squares() -> None:
    found = half_widths(FORCES, [0.04, 0.04, 0.0, 0.04], coverage=0.9, numbers=[1, 8, 8, 6])
    assert found == pytest.approx([2.0 * 0.05, 3.0 * 0.05, 3.0 * 0.03, 5.0 * 0.05])


def test_the_floor_of_energies_grows_with_the_atoms() -> None:
    assert half_widths(ENERGY, [0.04, 0.0], atoms=[3, 10]) == pytest.approx([2.0 * 0.05, 2.0 * 0.1])


def test_tensors_and_arrays_give_the_same() -> None:
    graph = two_molecules()
    given = raw(graph)
    found = Intervals(HEAD, 0.9).apply(given, graph)
    wanted = half_widths(FORCES, given["forces_uncertainty"].numpy(), numbers=graph.numbers.numpy())
    assert found["forces_uncertainty"].numpy() == pytest.approx(wanted)
    wanted = half_widths(ENERGY, given["energy_uncertainty"].numpy(), atoms=[3, 3])
    assert found["energy_uncertainty"].numpy() == pytest.approx(wanted)


def test_the_uncertainty_of_a_structure_is_the_largest_of_its_atoms() -> None:
    graph = two_molecules()
    found = Intervals(HEAD).apply(raw(graph), graph)
    of_atoms = found["forces_uncertainty"]
    assert found["uncertainty"].tolist() == [float(of_atoms[:3].max()), float(of_atoms[3:].max())]


def test_what_was_not_calibrated_is_left_out_and_what_is_no_uncertainty_stays() -> None:
    graph = two_molecules()
    given = raw(graph)
    found = Intervals(HEAD).apply(given, graph)
    assert "stress_uncertainty" not in found
    assert found["energy"] is given["energy"]
    energies_alone = Intervals(HeadCalibration(quantities={"energy": ENERGY})).apply(given, graph)
    assert sorted(energies_alone) == ["energy", "energy_uncertainty"]
    assert given["uncertainty"].tolist() == [9.0, 9.0]


def test_what_a_potential_does_not_give_is_not_made_up() -> None:
    graph = two_molecules()
    assert Intervals(HEAD).apply({"energy": raw(graph)["energy"]}, graph).keys() == {"energy"}


def test_a_coverage_that_was_not_calibrated_names_those_that_were() -> None:
    with pytest.raises(ValueError, match=r"coverage 0\.99 is not among those calibrated: 0\.5, 0\.9; .* more than 50"):
        FORCES.table(0.99)
    with pytest.raises(ValueError, match=r"coverage 0\.5 is not among those calibrated: 0\.9"):
        Intervals(HEAD, 0.5)


def test_an_element_without_a_factor_at_one_coverage_has_that_of_the_others() -> None:
    assert half_widths(FORCES, [0.04, 0.04], coverage=0.5, numbers=[1, 8]) == pytest.approx([0.05, 0.05])


def test_a_record_goes_through_json_unchanged() -> None:
    assert HeadCalibration.model_validate_json(HEAD.model_dump_json()) == HEAD


@pytest.mark.parametrize("change", [{"floor": 0.0}, {"floor": np.inf}, {"factors": {"0.9": {"*": np.nan}}}, {"x": 1}])
def test_a_record_with_numbers_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        QuantityCalibration.model_validate({**FORCES.model_dump(), **change})
