"""Formation energies of the vacancies of a crystal, one for each kind of site that symmetry tells apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from ase import Atoms
from pydantic import Field

from md_workflows.engine import Engine
from md_workflows.properties.base import Column, Measured, Property
from md_workflows.properties.crystals import neutral_crystal, quiet_spglib, repeats
from md_workflows.properties.references import ReferenceSettings, element_energy, prepare_references
from md_workflows.properties.stream import Computed, Derived, measure_each
from md_workflows.relaxation import RelaxResult, RelaxSettings


class VacancySettings(ReferenceSettings):
    """The supercell, its relaxation, and for compounds the reference energies of the elements.

    min_length_A: images of the vacancy are at least this far apart · symprec_A: tolerance of spglib · fmax: eV/Å and
    max_steps of the relaxations (the cell stays).
    """

    min_length_A: Annotated[float, Field(gt=0)] = 10.0
    symprec_A: Annotated[float, Field(gt=0)] = 0.01
    fmax: Annotated[float, Field(gt=0)] = 0.02
    max_steps: Annotated[int, Field(gt=0)] = 500


COLUMNS = (
    Column("vacancy_formation_energy_eV", "lowest formation energy of a neutral vacancy, relaxed"),
    Column("vacancy_element", "element that is missing in the lowest one"),
    Column("vacancy_site", "its number in the structure, from 0"),
    Column("vacancy_kinds", "how many kinds of sites symmetry tells apart"),
    Column("vacancy_all_eV", "all of them: element, site and formation energy"),
)


@dataclass(frozen=True)
class _Plan:
    """The supercell is `cells` times the structure; one vacancy at each of `sites`."""

    cells: int
    sites: tuple[int, ...]


def measure(structures: Sequence[Atoms], engine: Engine, settings: VacancySettings) -> list[Measured]:
    """E(supercell without the atom) + μ − E(supercell), all relaxed at the cell given.

    μ is the crystal's own energy per atom for an element, and that of the element's reference for a compound
    (rich conditions of this element). C. Freysoldt et al., Rev. Mod. Phys. 86, 253 (2014), equation 1, neutral.
    """
    VACANCY.check()
    prepared = prepare_references(engine, settings)
    relaxation = RelaxSettings(optimizer="lbfgs", fmax=settings.fmax, max_steps=settings.max_steps)

    def derive(atoms: Atoms) -> Derived:
        base = neutral_crystal(atoms)
        sites = inequivalent_sites(base, settings.symprec_A)
        if len(set(base.numbers)) > 1:
            for site in sites:
                element_energy(base.symbols[site], prepared)  # before anything is computed for nothing
        times = repeats(base, settings.min_length_A)
        supercell = base.repeat(times)
        return Derived([base, *(_without(supercell, site) for site in sites)], _Plan(int(np.prod(times)), sites))

    return measure_each(structures, engine, derive, lambda computed: _conclude(computed, prepared), relaxation)


def inequivalent_sites(atoms: Atoms, symprec_A: float) -> tuple[int, ...]:
    """One atom of each kind that the space group tells apart; magnetic moments are not looked at.

    Raises:
        ValueError: spglib finds no symmetry, as for atoms on top of each other.
    """
    import spglib

    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    try:
        with quiet_spglib():
            dataset = spglib.get_symmetry_dataset(cell, symprec=symprec_A)
    except spglib.SpglibError:  # or None, by the same global switch
        dataset = None
    if dataset is None:
        raise ValueError(f"spglib finds no space group at symprec_A = {symprec_A:g}; are atoms on top of each other?")
    return tuple(int(site) for site in np.unique(dataset.equivalent_atoms))


def _without(supercell: Atoms, site: int) -> Atoms:
    """Without atom `site` of the first cell, which stands first in ASE's order of repeated cells."""
    copy = supercell.copy()
    del copy[site]
    return copy


def _conclude(computed: Computed, settings: VacancySettings) -> Measured:
    plan, atoms = computed.context, computed.atoms
    perfect = computed.done[0]
    if isinstance(perfect, str):
        raise ValueError(f"the perfect crystal: {perfect}")
    own = len(set(atoms.numbers)) == 1
    energies: dict[int, float] = {}
    kept: dict[str, Atoms] = {}
    for site, done in zip(plan.sites, computed.done[1:], strict=True):
        if not isinstance(done, RelaxResult):
            continue
        symbol = atoms.symbols[site]
        potential = perfect.energy / len(atoms) if own else element_energy(symbol, settings)
        energies[site] = done.energy + potential - plan.cells * perfect.energy
        kept[f"vacancy {symbol} {site}"] = done.atoms
    if not energies:
        raise ValueError(computed.failures())
    lowest = min(energies, key=energies.__getitem__)
    values = {
        "vacancy_formation_energy_eV": energies[lowest],
        "vacancy_element": atoms.symbols[lowest],
        "vacancy_site": lowest,
        "vacancy_kinds": len(plan.sites),
        "vacancy_all_eV": "; ".join(f"{atoms.symbols[site]} {site} {energy:.4f}" for site, energy in energies.items()),
    }
    return Measured(values, error=computed.failures(), structures=kept)


VACANCY = Property(
    "formation energy of each kind of vacancy, the lowest reported",
    COLUMNS,
    VacancySettings,
    measure,
    prepare_references,
    libraries=("spglib",),
)
