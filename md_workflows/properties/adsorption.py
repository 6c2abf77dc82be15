"""Adsorption energies: a molecule on all sites of a slab that symmetry tells apart."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms
from ase.data import atomic_numbers
from pydantic import Field, model_validator

from md_workflows.engine import Engine
from md_workflows.properties.base import Column, Measured, Property, Value
from md_workflows.properties.crystals import check_neutral, neutral_crystal, quiet_spglib, repeats
from md_workflows.properties.references import formula_key
from md_workflows.properties.stream import Computed, Derived, done_of, measure_each
from md_workflows.properties.surface import ase_atoms, conventional_cell
from md_workflows.relaxation import RelaxResult, RelaxSettings
from md_workflows.settings import Settings

_KINDS = ("ontop", "bridge", "hollow")
_LEAST_VACUUM_A = 5.0


class AdsorptionSettings(Settings):
    """What is adsorbed where.

    adsorbate: an element or a molecule that `ase.build.molecule` knows, its lowest atom goes down · reference: the
    molecule whose energy counts, taken as often as it makes the adsorbate (H2 for H); None is the adsorbate itself ·
    miller: the facet of the conventional cell to cut; None takes the structures for slabs, open along the third
    vector · slab_A, vacuum_A: least thickness and vacuum of slabs that are cut · lateral_A: images of the adsorbate
    are at least this far apart · height_A: of the lowest atom over the site at the start · fixed_fraction: of the
    slab's height, from below, that stays in place; constraints that a slab brings are kept instead · symprec_A:
    tolerance of the space group · fmax: eV/Å and max_steps of the relaxations · reference_energy_eV: of the
    adsorbate; `prepare` fills it.
    """

    adsorbate: str = "H"
    reference: str | None = "H2"
    miller: tuple[int, int, int] | None = None
    slab_A: Annotated[float, Field(gt=0)] = 8.0
    vacuum_A: Annotated[float, Field(ge=_LEAST_VACUUM_A)] = 15.0
    lateral_A: Annotated[float, Field(gt=0)] = 7.0
    height_A: Annotated[float, Field(gt=0.5)] = 1.5
    fixed_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.5
    symprec_A: Annotated[float, Field(gt=0)] = 0.01
    fmax: Annotated[float, Field(gt=0)] = 0.05
    max_steps: Annotated[int, Field(gt=0)] = 500
    reference_energy_eV: float | None = None

    @model_validator(mode="after")
    def _known(self) -> "AdsorptionSettings":
        for name in (self.adsorbate, self.reference):
            if name is not None:
                gas(name)
        if self.reference is not None and formula_key(gas(self.adsorbate).symbols.formula) != formula_key(
            gas(self.reference).symbols.formula
        ):
            raise ValueError(f"the reference {self.reference} does not make the adsorbate {self.adsorbate}")
        if self.miller == (0, 0, 0):
            raise ValueError("miller = (0, 0, 0) is no facet")
        return self


COLUMNS = (
    Column("adsorption_energy_eV", "lowest adsorption energy, relaxed; negative binds"),
    Column("adsorption_site", "site at which the lowest one began"),
    Column("adsorption_height_A", "of the lowest atom of the adsorbate over the highest of the slab"),
    Column("adsorption_sites", "how many sites symmetry tells apart"),
    Column("adsorption_all_eV", "adsorption energy by site"),
)


def gas(name: str) -> Atoms:
    """The molecule or single atom of that name, in no cell; raises ValueError for a name that ASE does not know."""
    try:
        return molecule(name)
    except KeyError:
        pass
    if name in atomic_numbers:
        return Atoms(name)
    raise ValueError(f"'{name}' is no molecule that ASE knows (ase.build.molecule) and no element")


def prepare(engine: Engine, settings: AdsorptionSettings) -> AdsorptionSettings:
    """The settings with the energy of the relaxed reference; raises ValueError when it fails."""
    if settings.reference_energy_eV is not None:
        return settings
    name = settings.reference or settings.adsorbate
    free, relaxation = gas(name), _relaxation(settings)
    (outcome,) = engine.relax_many([free], relaxation)
    done = done_of(outcome, relaxation)
    if isinstance(done, str):
        raise ValueError(f"the reference {name} of the adsorption failed: {done}")
    share = len(gas(settings.adsorbate)) / len(free)
    return settings.model_copy(update={"reference_energy_eV": done.energy * share})


def measure(structures: Sequence[Atoms], engine: Engine, settings: AdsorptionSettings) -> list[Measured]:
    """E(slab with adsorbate) − E(slab) − E(reference), all relaxed.

    Sites: J. H. Montoya and K. A. Persson, npj Comput. Mater. 3, 14 (2017), by pymatgen.
    """
    ADSORPTION.check()
    prepared = prepare(engine, settings)
    adsorbate = gas(settings.adsorbate)

    def derive(atoms: Atoms) -> Derived:
        with quiet_spglib():
            slab = _wide(_slab(atoms, prepared), prepared.lateral_A)
            sites = adsorption_sites(slab, prepared.height_A)
        slab.set_constraint(slab.constraints or _fixed_below(slab, prepared.fixed_fraction))
        return Derived([slab, *(_covered(slab, adsorbate, place) for _, place in sites)], [name for name, _ in sites])

    return measure_each(
        structures, engine, derive, lambda computed: _conclude(computed, prepared), _relaxation(prepared)
    )


def adsorption_sites(slab: Atoms, height_A: float) -> list[tuple[str, Any]]:
    """(name, position [3]) of each kind of site on top of a slab whose surface is normal to z."""
    from pymatgen.analysis.adsorption import AdsorbateSiteFinder
    from pymatgen.io.ase import AseAtomsAdaptor

    bare = Atoms(slab.numbers, positions=slab.positions, cell=slab.cell, pbc=True)
    bare.center(vacuum=10.0, axis=2)  # a slab that is open along z may come in a cell that fits tightly
    moved = bare.positions[0] - slab.positions[0]
    finder = AdsorbateSiteFinder(AseAtomsAdaptor.get_structure(bare))
    found = finder.find_adsorption_sites(distance=height_A, positions=_KINDS)
    return [
        (f"{kind} {number}", np.array(place) - moved) for kind in _KINDS for number, place in enumerate(found[kind])
    ]


def _relaxation(settings: AdsorptionSettings) -> RelaxSettings:
    return RelaxSettings(fmax=settings.fmax, max_steps=settings.max_steps)


def _slab(atoms: Atoms, settings: AdsorptionSettings) -> Atoms:
    """The slab with its first two vectors in the plane of x and y, cut from the crystal where a facet is asked for."""
    if settings.miller is not None:
        from pymatgen.core.surface import SlabGenerator

        base = neutral_crystal(atoms)
        conventional = conventional_cell(base, settings.symprec_A)
        generator = SlabGenerator(
            conventional, settings.miller, settings.slab_A, settings.vacuum_A, center_slab=True, primitive=True
        )
        slab = ase_atoms(generator.get_slabs()[0], base)
    else:
        slab = _given(atoms)
    slab.set_cell(slab.cell.standard_form()[0], scale_atoms=True)
    return slab


def _given(atoms: Atoms) -> Atoms:
    if not atoms.pbc[:2].all() or atoms.cell.rank < 3:
        raise ValueError("a slab has to repeat along its first two cell vectors and to have a third; set cell and pbc.")
    along = np.sort(atoms.get_scaled_positions()[:, 2])
    gaps = np.diff(np.append(along, along[0] + 1))
    height = 1 / atoms.cell.reciprocal().lengths()[2]
    if atoms.pbc[2] and gaps.max() * height < _LEAST_VACUUM_A:
        raise ValueError(
            f"the structure has no vacuum of {_LEAST_VACUUM_A:g} Å along its third vector, so it is no slab; "
            "name a facet in miller to cut one."
        )
    check_neutral(atoms)
    slab = atoms.copy()
    if not atoms.pbc[2]:
        return slab
    # the vacuum above, so that the highest atom is that of the upper face
    slab.set_scaled_positions((slab.get_scaled_positions() - along[(gaps.argmax() + 1) % len(along)]) % 1.0)
    return slab


def _wide(slab: Atoms, lateral_A: float) -> Atoms:
    a, b, _ = repeats(slab, lateral_A)
    return slab.repeat((a, b, 1))


def _fixed_below(slab: Atoms, fraction: float) -> FixAtoms:
    heights = slab.positions[:, 2]
    return FixAtoms(mask=heights < heights.min() + fraction * np.ptp(heights) - 1e-6)


def _covered(slab: Atoms, adsorbate: Atoms, place_3: Any) -> Atoms:
    added = adsorbate.copy()
    added.translate(place_3 - added.positions[added.positions[:, 2].argmin()])
    return slab + added


def _conclude(computed: Computed, settings: AdsorptionSettings) -> Measured:
    clean = computed.done[0]
    if isinstance(clean, str):
        raise ValueError(f"the clean slab: {clean}")
    assert settings.reference_energy_eV is not None
    energies: dict[str, float] = {}
    kept = {"clean slab": clean.atoms}
    for name, done in zip(computed.context, computed.done[1:], strict=True):
        if isinstance(done, RelaxResult):
            energies[name] = done.energy - clean.energy - settings.reference_energy_eV
            kept[f"adsorbate {name}"] = done.atoms
    if not energies:
        raise ValueError(computed.failures() or "no site was found on the slab.")
    lowest = min(energies, key=energies.__getitem__)
    heights, slab = kept[f"adsorbate {lowest}"].positions[:, 2], len(clean.atoms)
    values: dict[str, Value] = {
        "adsorption_energy_eV": energies[lowest],
        "adsorption_site": lowest,
        "adsorption_height_A": float(heights[slab:].min() - heights[:slab].max()),
        "adsorption_sites": len(computed.context),
        "adsorption_all_eV": "; ".join(f"{name} {energy:.4f}" for name, energy in energies.items()),
    }
    return Measured(values, error=computed.failures(), structures=kept)


ADSORPTION = Property(
    "adsorption energies of a molecule on the sites of a slab, the lowest reported",
    COLUMNS,
    AdsorptionSettings,
    measure,
    prepare,
    libraries=("pymatgen", "spglib"),
)
