"""Vacancies, surfaces and adsorption against the same by hand with ASE's builders and optimizers."""

from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import add_adsorbate, bulk, fcc100, fcc110, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import BFGS

from md_workflows import PROPERTIES
from md_workflows.properties.adsorption import gas
from md_workflows.properties.crystals import repeats

VACANCY, SURFACE, ADSORPTION = (PROPERTIES[name] for name in ("vacancy", "surface", "adsorption"))


def relaxed_energy(atoms: Atoms, fmax: float = 0.005) -> float:
    driven = atoms.copy()
    driven.calc = EMT()
    BFGS(driven, logfile=None).run(fmax=fmax, steps=300)
    return float(driven.get_potential_energy())


def test_the_vacancy_of_copper(engine: Any, copper: Atoms) -> None:
    settings = VACANCY.settings(min_length_A=8.0, fmax=0.005)
    (measured,) = VACANCY.measure([copper], engine, settings)
    supercell = copper * (4, 4, 4)
    perfect = relaxed_energy(supercell)
    del supercell[17]  # any atom
    by_hand = relaxed_energy(supercell) - perfect * 63 / 64
    values = measured.values
    assert values["vacancy_formation_energy_eV"] == pytest.approx(by_hand, abs=2e-3)
    assert (values["vacancy_element"], values["vacancy_site"], values["vacancy_kinds"]) == ("Cu", 0, 1)
    assert len(measured.structures["vacancy Cu 0"]) == 63


def test_vacancies_of_an_alloy(engine: Any, copper: Atoms, cu3au: Atoms) -> None:
    references = {"Cu": -0.007, "Au": 0.003}
    settings = VACANCY.settings(min_length_A=7.0, fmax=0.005, reference_energies=references)
    (measured,) = VACANCY.measure([cu3au], engine, settings)
    assert engine.streams == [3]  # the crystal and two kinds of vacancies
    by_hand = {}
    for symbol, site in (("Au", 0), ("Cu", 1)):
        supercell = cu3au * (2, 2, 2)
        perfect = relaxed_energy(supercell)
        del supercell[site]
        by_hand[f"{symbol} {site}"] = relaxed_energy(supercell) + references[symbol] - perfect
    found = dict(part.rsplit(" ", 1) for part in str(measured.values["vacancy_all_eV"]).split("; "))
    assert {name: float(energy) for name, energy in found.items()} == pytest.approx(by_hand, abs=2e-3)
    assert measured.values["vacancy_formation_energy_eV"] == pytest.approx(min(by_hand.values()), abs=2e-3)
    assert measured.values["vacancy_kinds"] == 2
    (measured,) = VACANCY.measure([cu3au], engine, VACANCY.settings(reference_energies={"Cu": 0}))
    assert measured.error.startswith("there is no reference energy of Au; there are Cu")
    assert engine.streams[1:] == [0]  # nothing was computed for nothing


def test_atoms_on_top_of_each_other_have_no_symmetry(engine: Any) -> None:
    twice = Atoms("Cu2", [[0, 0, 0], [0, 0, 1e-6]], cell=[3, 3, 3], pbc=True)
    (measured,) = VACANCY.measure([twice], engine, VACANCY.settings())
    assert measured.error == "spglib finds no space group at symprec_A = 0.01; are atoms on top of each other?"


def test_a_vacancy_that_does_not_relax_is_told(engine: Any, cu3au: Atoms) -> None:
    settings = VACANCY.settings(min_length_A=5.0, max_steps=1, reference_energies={"Cu": 0, "Au": 0})
    (measured,) = VACANCY.measure([cu3au], engine, settings)
    assert "2 of 3 calculations failed, the first: not relaxed after 1 steps" in measured.error
    assert measured.values == {}


@pytest.mark.parametrize("cell", [bulk("Cu"), bulk("Cu", cubic=True), bulk("Cu", "hcp", a=2.5, c=4.0)])
def test_images_are_as_far_apart_as_asked(cell: Atoms) -> None:
    for length in (4.0, 7.3, 10.0):
        times = repeats(cell, length)
        lattice = (cell * times).cell
        heights = 1 / lattice.reciprocal().lengths()
        assert heights.min() >= length - 1e-6
        shorter = [n - 1 for n in times]
        assert all(n == 0 or h * n / t < length for n, h, t in zip(shorter, heights, times, strict=True))


def test_facets_of_copper(engine: Any, copper: Atoms) -> None:
    a = float(copper.cell.lengths()[0] * np.sqrt(2))
    (measured,) = SURFACE.measure([copper], engine, SURFACE.settings(fmax=0.005))
    parts = dict(part.rsplit(" ", 1) for part in str(measured.values["surface_all_J_per_m2"]).split("; "))
    bulk_energy = relaxed_energy(copper)
    by_hand = {}
    for name, build, layers in (("(1 1 1)", fcc111, 7), ("(1 0 0)", fcc100, 8), ("(1 1 0)", fcc110, 11)):
        slab = build("Cu", (1, 1, layers), a=a, vacuum=8)
        area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
        by_hand[name] = (relaxed_energy(slab) - len(slab) * bulk_energy) / (2 * area) * units.m**2 / units.J
    # slabs of another number of layers: what is left of one surface at the other
    assert {name: float(energy) for name, energy in parts.items()} == pytest.approx(by_hand, abs=5e-3)
    assert measured.values["surface_miller"] == "(1 1 1)"
    assert measured.values["surface_energy_J_per_m2"] == pytest.approx(by_hand["(1 1 1)"], abs=5e-3)
    assert measured.values["surface_faces_equal"] is True
    assert measured.values["surface_slabs"] == len(measured.structures) == 3


def test_terminations_of_an_alloy(engine: Any, cu3au: Atoms) -> None:
    (measured,) = SURFACE.measure([cu3au], engine, SURFACE.settings(slab_A=6.0, fmax=0.05))
    assert measured.error == ""
    for slab in measured.structures.values():
        assert slab.symbols.formula.reduce()[0].convert("hill") == cu3au.symbols.formula.convert("hill")
    # (111) has one kind of layer, whose faces are equal; (100) and (110) end with Cu on one side and CuAu on the other
    assert measured.values["surface_miller"] == "(1 1 1)"
    assert measured.values["surface_faces_equal"] is True


def test_oxygen_on_a_slab(engine: Any) -> None:
    slab = fcc111("Cu", (2, 2, 3), a=3.59, vacuum=8)
    settings = ADSORPTION.settings(adsorbate="O", reference="O2", lateral_A=4.0, fixed_fraction=0.6, fmax=0.02)
    assert ADSORPTION.prepare is not None
    prepared = ADSORPTION.prepare(engine, settings)
    oxygen = relaxed_energy(molecule("O2")) / 2
    assert prepared.reference_energy_eV == pytest.approx(oxygen, abs=1e-3)
    assert ADSORPTION.prepare(engine, prepared) == prepared
    (measured,) = ADSORPTION.measure([slab], engine, prepared)
    assert engine.streams == [1, 5]  # the clean slab and four kinds of sites
    fixed = FixAtoms(indices=[atom.index for atom in slab if atom.tag > 1])
    clean = slab.copy()
    clean.set_constraint(fixed)
    by_hand = {}
    for site in ("ontop", "bridge", "fcc", "hcp"):
        covered = slab.copy()
        add_adsorbate(covered, "O", 1.5, site)
        covered.set_constraint(fixed)
        by_hand[site] = relaxed_energy(covered, 0.02) - relaxed_energy(clean, 0.02) - oxygen
    assert measured.values["adsorption_energy_eV"] == pytest.approx(min(by_hand.values()), abs=5e-3)
    found = dict(part.rsplit(" ", 1) for part in str(measured.values["adsorption_all_eV"]).split("; "))
    assert sorted(map(float, found.values())) == pytest.approx(sorted(by_hand.values()), abs=5e-3)
    assert str(measured.values["adsorption_site"]).startswith("hollow")
    assert 0.5 < float(measured.values["adsorption_height_A"] or 0) < 2
    kept = measured.structures["clean slab"]
    below = kept.positions[:, 2] < 8 + 2.2
    assert kept.positions[below] == pytest.approx(slab.positions[below])  # two of three layers stayed
    assert abs(kept.positions[~below] - slab.positions[~below]).max() > 1e-3


def test_slabs_in_other_cells(engine: Any) -> None:
    """Open along z in a tight cell, or wrapped so that the vacuum is in the middle: the same slab, the same energy."""
    slab = fcc111("Cu", (2, 2, 2), a=3.59, vacuum=8)
    tight = fcc111("Cu", (2, 2, 2), a=3.59, vacuum=1.0)
    wrapped = slab.copy()
    wrapped.pbc = True
    wrapped.positions[:, 2] -= 9.0
    wrapped.wrap()
    settings = ADSORPTION.settings(lateral_A=4.0, reference_energy_eV=0.0)
    measured = ADSORPTION.measure([slab, tight, wrapped], engine, settings)
    energies = [one.values["adsorption_energy_eV"] for one in measured]
    assert energies == pytest.approx([energies[0]] * 3, abs=5e-3)
    held = slab.copy()
    held.set_constraint(FixAtoms(indices=range(8)))
    (stiff,) = ADSORPTION.measure([held], engine, settings)
    assert stiff.structures["clean slab"].positions == pytest.approx(slab.positions)


def test_what_adsorption_refuses(engine: Any, copper: Atoms) -> None:
    known = {"reference_energy_eV": 0.0}
    (measured,) = ADSORPTION.measure([copper * (1, 1, 4)], engine, ADSORPTION.settings(**known))
    assert measured.error.startswith("the structure has no vacuum of 5 Å along its third vector")
    (measured,) = ADSORPTION.measure([molecule("CO")], engine, ADSORPTION.settings(**known))
    assert measured.error.startswith("a slab has to repeat along its first two cell vectors")
    with pytest.raises(ValueError, match="'Xyz' is no molecule that ASE knows"):
        ADSORPTION.settings(adsorbate="Xyz")
    with pytest.raises(ValueError, match="the reference H2 does not make the adsorbate CO"):
        ADSORPTION.settings(adsorbate="CO")
    with pytest.raises(ValueError, match="is no facet"):
        ADSORPTION.settings(miller=(0, 0, 0))
    with pytest.raises(ValueError, match="the reference F of the adsorption failed: NotImplementedError"):
        ADSORPTION.measure([copper], engine, ADSORPTION.settings(adsorbate="F", reference=None))
    assert len(gas("Au")) == 1
    assert len(gas("CO")) == 2
