"""Surface energies of all facets up to a Miller index, each with each of its terminations."""

from collections.abc import Sequence
from typing import Annotated, Any

from ase import Atoms, units
from pydantic import Field

from md_workflows.engine import Engine
from md_workflows.properties.base import Column, Measured, Property, Value
from md_workflows.properties.crystals import neutral_crystal, quiet_spglib
from md_workflows.properties.stream import Computed, Derived, measure_each
from md_workflows.relaxation import RelaxResult, RelaxSettings
from md_workflows.settings import Settings

_J_PER_M2 = units.J / units.m**2  # eV/Å²


class SurfaceSettings(Settings):
    """Which slabs, and their relaxation.

    max_miller: largest Miller index, of the conventional cell · slab_A: least thickness · vacuum_A: least vacuum ·
    symprec_A: tolerance of the space group · fmax: eV/Å and max_steps of the relaxations (the cell stays).
    """

    max_miller: Annotated[int, Field(ge=1, le=4)] = 1
    slab_A: Annotated[float, Field(gt=0)] = 12.0
    vacuum_A: Annotated[float, Field(ge=5)] = 15.0
    symprec_A: Annotated[float, Field(gt=0)] = 0.01
    fmax: Annotated[float, Field(gt=0)] = 0.02
    max_steps: Annotated[int, Field(gt=0)] = 500


COLUMNS = (
    Column("surface_energy_J_per_m2", "lowest surface energy, relaxed; the mean of both faces where they differ"),
    Column("surface_miller", "Miller indices of the lowest, of the conventional cell"),
    Column("surface_faces_equal", "whether symmetry makes both faces of the lowest slab the same"),
    Column("surface_slabs", "how many slabs were computed"),
    Column("surface_all_J_per_m2", "lowest surface energy of each facet"),
)


def measure(structures: Sequence[Atoms], engine: Engine, settings: SurfaceSettings) -> list[Measured]:
    """(E(slab) − N·E(crystal)/atom) / 2A of all stoichiometric slabs, all atoms relaxed.

    Slabs: W. Sun and G. Ceder, Surf. Sci. 617, 53 (2013), by pymatgen. Polar slabs are not left out.
    """
    SURFACE.check()
    relaxation = RelaxSettings(optimizer="lbfgs", fmax=settings.fmax, max_steps=settings.max_steps)

    def derive(atoms: Atoms) -> Derived:
        with quiet_spglib():
            base, slabs = cut_slabs(neutral_crystal(atoms), settings)
        return Derived([base, *(slab for _, _, slab in slabs)], slabs)

    return measure_each(structures, engine, derive, _conclude, relaxation)


def cut_slabs(atoms: Atoms, settings: SurfaceSettings) -> tuple[Atoms, list[tuple[tuple[int, ...], bool, Atoms]]]:
    """The conventional cell, and (Miller indices, both faces equal, slab) of each termination."""
    from pymatgen.core.surface import generate_all_slabs

    conventional = conventional_cell(atoms, settings.symprec_A)
    slabs = generate_all_slabs(
        conventional,
        max_index=settings.max_miller,
        min_slab_size=settings.slab_A,
        min_vacuum_size=settings.vacuum_A,
        center_slab=True,
    )
    cut = [(slab.miller_index, bool(slab.is_symmetric()), ase_atoms(slab, atoms)) for slab in slabs]
    return ase_atoms(conventional, atoms), cut


def conventional_cell(atoms: Atoms, symprec_A: float) -> Any:
    """The standard conventional cell as pymatgen's Structure, of which Miller indices are meant."""
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    bare = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    return SpacegroupAnalyzer(AseAtomsAdaptor.get_structure(bare), symprec_A).get_conventional_standard_structure()


def ase_atoms(structure: Any, like: Atoms) -> Atoms:
    """Pymatgen's structure as Atoms, periodic in three directions (vacuum parts the slabs), with the info of `like`."""
    numbers = [site.specie.Z for site in structure]
    atoms = Atoms(numbers, cell=structure.lattice.matrix, scaled_positions=structure.frac_coords, pbc=True)
    atoms.info.update(like.info)
    return atoms


def _conclude(computed: Computed) -> Measured:
    crystal = computed.done[0]
    if isinstance(crystal, str):
        raise ValueError(f"the crystal: {crystal}")
    per_atom = crystal.energy / len(crystal.atoms)
    found: dict[str, tuple[float, bool]] = {}
    kept: dict[str, Atoms] = {}
    for number, ((miller, equal, _), done) in enumerate(zip(computed.context, computed.done[1:], strict=True)):
        if not isinstance(done, RelaxResult):
            continue
        name = f"({' '.join(map(str, miller))})"
        slab = done.atoms
        area = slab.get_volume() / _height(slab)
        energy = float((done.energy - len(slab) * per_atom) / (2 * area) / _J_PER_M2)
        kept[f"slab {name} {number}"] = slab
        if name not in found or energy < found[name][0]:
            found[name] = (energy, equal)
    if not found:
        raise ValueError(computed.failures() or "no slab could be cut.")
    lowest = min(found, key=lambda name: found[name][0])
    values: dict[str, Value] = {
        "surface_energy_J_per_m2": found[lowest][0],
        "surface_miller": lowest,
        "surface_faces_equal": found[lowest][1],
        "surface_slabs": len(computed.context),
        "surface_all_J_per_m2": "; ".join(f"{name} {energy:.4f}" for name, (energy, _) in sorted(found.items())),
    }
    return Measured(values, error=computed.failures(), structures=kept)


def _height(slab: Atoms) -> float:
    """Length of the cell normal to the first two vectors."""
    return float(1 / slab.cell.reciprocal().lengths()[2])


SURFACE = Property(
    "surface energies of all facets up to a Miller index, the lowest reported",
    COLUMNS,
    SurfaceSettings,
    measure,
    libraries=("pymatgen", "spglib"),
)
