"""Formation energy: the energy of a structure less that of its elements."""

from collections.abc import Sequence

from ase import Atoms

from md_workflows.engine import Engine
from md_workflows.properties.base import Column, Measured, Property
from md_workflows.properties.references import ReferenceSettings, formation_energy, prepare_references
from md_workflows.properties.stream import Computed, Derived, measure_each

COLUMNS = (
    Column("formation_energy_eV_per_atom", "energy less that of the elements in their reference structures"),
    Column("energy_eV_per_atom", "energy of the structure as it is"),
)


class FormationSettings(ReferenceSettings):
    """The reference energies of the elements; see ReferenceSettings."""


def measure(structures: Sequence[Atoms], engine: Engine, settings: FormationSettings) -> list[Measured]:
    """Formation energies of the structures as they are."""
    prepared = prepare_references(engine, settings)

    def conclude(computed: Computed) -> Measured:
        (result,) = computed.results()
        return Measured(
            {
                "formation_energy_eV_per_atom": formation_energy(computed.atoms, result.energy, prepared),
                "energy_eV_per_atom": result.energy / len(computed.atoms),
            }
        )

    return measure_each(structures, engine, as_it_is, conclude)


def as_it_is(atoms: Atoms) -> Derived:
    """The structure itself is all that has to be computed."""
    return Derived([atoms])


FORMATION = Property(
    "formation energy against reference structures of the elements",
    COLUMNS,
    FormationSettings,
    measure,
    prepare_references,
)
