"""Radial functions from tables in the calculator: the same numbers, made once."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from gfm_ase import GFMCalculator
from gfm_ase.loading import Loaded
from potentials.backbones.ember import EmberConfig
from potentials.backbones.painn import PaiNNConfig
from potentials.manifest import describe
from potentials.potential import Potential, PotentialConfig
from potentials.radial_tables import BOUNDS

TABLES = 1e-5
"""eV, eV/Å: tables of float32 are off by 1e-7 of the largest radial factor, results here are of order 1."""


def loaded(backbone: EmberConfig | PaiNNConfig) -> Loaded:
    potential = Potential(PotentialConfig(backbone=backbone, heads=("emt",), head_width=8), seed=2)
    potential.references.set_head("emt", {"Al": -0.1, "Cu": 0.2, "Ag": 0.0})
    return Loaded(potential, describe(potential, [], made_with={}))


EMBER = EmberConfig(cutoff=4.0, width=8, radial_size=4, radial_widths=(8, 8), l_max=2)


def results(calculator: GFMCalculator, atoms: Atoms) -> list[np.ndarray]:
    return [calculator.get_property(name, atoms) for name in ("energies", "forces", "stress")]


def test_tables_change_nothing_but_roundings(alloy: Atoms) -> None:
    potential = loaded(EMBER)
    exact, tables = (GFMCalculator(potential, device="cpu", tabulate=choice) for choice in (False, None))
    silver = bulk("Ag", cubic=True)
    silver.rattle(0.1, seed=1)
    for atoms in (alloy, silver, alloy):
        pairs = list(zip(results(tables, atoms), results(exact, atoms), strict=True))
        assert max(np.abs(found - wanted).max() for found, wanted in pairs) < TABLES
        assert not all(np.array_equal(found, wanted) for found, wanted in pairs), "tables were asked"


def test_tables_are_made_once(alloy: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    tabulated = Potential.tabulated
    monkeypatch.setattr(Potential, "tabulated", lambda self: made.append(self) or tabulated(self))
    calculator = GFMCalculator(loaded(EMBER), device="cpu")
    for step in range(3):
        moved = alloy.copy()
        moved.rattle(0.01, seed=step)
        calculator.get_property("energy", moved)
    calculator.get_property("energy", bulk("Cu"))
    assert len(made) == 1


def test_tables_that_cannot_be_are_refused_where_they_were_asked_for(alloy: Atoms) -> None:
    calculator = GFMCalculator(loaded(PaiNNConfig(cutoff=4.0, width=8)), device="cpu", tabulate=True)
    with pytest.raises(ValueError, match=r"tabulate=True, but the backbone 'painn' has no radial functions"):
        calculator.get_property("energy", alloy)


def test_tables_too_rough_are_left_out_unless_asked_for(alloy: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOUNDS, torch.float32, 1e-30)
    exact = GFMCalculator(loaded(EMBER), device="cpu", tabulate=False)
    assert GFMCalculator(loaded(EMBER), device="cpu").get_property("energy", alloy) == exact.get_property(
        "energy", alloy
    )
    with pytest.raises(ValueError, match=r"too rough for tables.* use tabulate=False"):
        GFMCalculator(loaded(EMBER), device="cpu", tabulate=True).get_property("energy", alloy)
