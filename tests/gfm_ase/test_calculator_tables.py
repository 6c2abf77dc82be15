"""Radial functions from tables in the calculator: the same numbers, made for the elements that come."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gfm_ase import GFMCalculator
from gfm_ase.loading import Loaded
from potentials.backbones.ember import EmberConfig
from potentials.backbones.painn import PaiNNConfig
from potentials.manifest import describe
from potentials.potential import Potential, PotentialConfig

TABLES = 1e-5
"""eV, eV/Å: tables of float32 are off by 1e-7 of the largest radial factor, results here are of order 1."""


def loaded(backbone: EmberConfig | PaiNNConfig) -> Loaded:
    potential = Potential(PotentialConfig(backbone=backbone, heads=("emt",), head_width=8), seed=2)
    potential.references.set_head("emt", {"Al": -0.1, "Cu": 0.2, "Ag": 0.0})
    return Loaded(potential, describe(potential, [], made_with={}))


EMBER = EmberConfig(cutoff=4.0, width=8, radial_size=4, radial_width=8, l_max=2)


def results(calculator: GFMCalculator, atoms: Atoms) -> list[np.ndarray]:
    return [calculator.get_property(name, atoms) for name in ("energies", "forces", "stress")]


def test_tables_change_nothing_and_grow_with_the_elements(alloy: Atoms) -> None:
    potential = loaded(EMBER)
    exact, tables = (GFMCalculator(potential, device="cpu", tabulate=choice) for choice in (False, None))
    silver = bulk("Ag", cubic=True)
    silver.rattle(0.1, seed=1)
    for atoms in (alloy, silver, alloy):
        for found, wanted in zip(results(tables, atoms), results(exact, atoms), strict=True):
            assert np.abs(found - wanted).max() < TABLES
            assert not np.array_equal(found, wanted), "tables were asked"
    assert tables._prepared == {13, 29, 47}


def test_tables_are_made_once(alloy: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    tabulated = Potential.tabulated
    monkeypatch.setattr(Potential, "tabulated", lambda self, numbers: made.append(numbers) or tabulated(self, numbers))
    calculator = GFMCalculator(loaded(EMBER), device="cpu")
    for step in range(3):
        moved = alloy.copy()
        moved.rattle(0.01, seed=step)
        calculator.get_property("energy", moved)
    calculator.get_property("energy", bulk("Cu"))
    assert made == [[13, 29]]


def test_tables_that_cannot_be_are_refused_where_they_were_asked_for(alloy: Atoms) -> None:
    calculator = GFMCalculator(loaded(PaiNNConfig(cutoff=4.0, width=8)), device="cpu", tabulate=True)
    with pytest.raises(ValueError, match=r"tabulate=True, but the backbone 'painn' has no radial functions"):
        calculator.get_property("energy", alloy)


def test_tables_too_large_are_left_out_unless_asked_for(alloy: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potentials.radial_tables.MOST_BYTES", 1000)
    exact = GFMCalculator(loaded(EMBER), device="cpu", tabulate=False)
    assert GFMCalculator(loaded(EMBER), device="cpu").get_property("energy", alloy) == exact.get_property(
        "energy", alloy
    )
    with pytest.raises(ValueError, match=r"would take .* GiB; use tabulate=False"):
        GFMCalculator(loaded(EMBER), device="cpu", tabulate=True).get_property("energy", alloy)
