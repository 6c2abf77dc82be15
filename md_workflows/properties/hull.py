"""Energy above the convex hull of all structures of the screening and of the user's references."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from ase import Atoms
from ase.formula import Formula

from md_workflows.engine import Engine
from md_workflows.progress import ProgressCallback
from md_workflows.properties.base import Column, Measured, Property, Value
from md_workflows.properties.formation import as_it_is
from md_workflows.properties.references import ReferenceSettings, prepare_references
from md_workflows.properties.stream import Computed, measure_each, reason_of

COLUMNS = (
    Column("hull_formula", "formula by which the structure takes its place in the hull"),
    Column("hull_energy_eV_per_atom", "energy of the structure as it is, which goes into the hull"),
    Column("energy_above_hull_eV_per_atom", "above the hull of this table and the references; 0 is on it"),
    Column("hull_decomposition", "the phases below the structure, with the fraction of atoms in each"),
)

_ATOM_FRACTION = 1e-4  # phases with less of the atoms than this are rounding


class HullSettings(ReferenceSettings):
    """Energies of elements and known compounds that the hull holds beside the table; see ReferenceSettings."""


def measure(structures: Sequence[Atoms], engine: Engine, settings: HullSettings) -> list[Measured]:
    """Formula and energy of each structure; the hull itself needs all of them, and `hull` makes it at the end."""
    del settings

    def conclude(computed: Computed) -> Measured:
        (result,) = computed.results()
        atoms = computed.atoms
        return Measured(
            {
                "hull_formula": atoms.symbols.formula.format("hill"),
                "hull_energy_eV_per_atom": result.energy / len(atoms),
            }
        )

    return measure_each(structures, engine, as_it_is, conclude)


def hull(
    rows: Sequence[Mapping[str, Value]], settings: HullSettings, progress: ProgressCallback | None = None
) -> list[Measured]:
    """Energy above hull for every row that has `hull_formula` and `hull_energy_eV_per_atom`; others stay empty.

    The hull of a structure is that of all rows and references made of its elements. Energies are compared as they are:
    no corrections between functionals or anions. S. P. Ong et al., Chem. Mater. 20, 1798 (2008).

    Raises:
        ValueError: the references are still a file (call `prepare`), or pymatgen is not installed.
    """
    HULL.check()
    if settings.references is not None:
        raise ValueError("the references of the hull are still a file; call prepare(engine, settings) before.")
    known = settings.reference_energies or {}
    entries = [_entry(formula, energy) for formula, energy in known.items()]
    own = [_entry_of(row) for row in rows]
    table = _Hulls([*entries, *(entry for entry in own if entry is not None)])
    done: list[Measured] = []
    for entry in own:
        done.append(_above(entry, table))
        if progress is not None:
            progress(len(done), len(own))
    return done


def _entry_of(row: Mapping[str, Value]) -> Any:
    formula, energy = row.get("hull_formula"), row.get("hull_energy_eV_per_atom")
    return None if not isinstance(formula, str) or not isinstance(energy, float | int) else _entry(formula, energy)


def _entry(formula: str, energy_per_atom: float) -> Any:
    from pymatgen.analysis.phase_diagram import PDEntry

    return PDEntry(formula, energy_per_atom * len(Formula(formula)))


class _Hulls:
    """One hull for each set of elements, built when it is first asked for, of the lowest entry of each formula."""

    def __init__(self, entries: Sequence[Any]) -> None:
        lowest: dict[str, Any] = {}
        for entry in entries:
            key = entry.composition.reduced_formula
            if key not in lowest or entry.energy_per_atom < lowest[key].energy_per_atom:
                lowest[key] = entry
        self._entries: dict[frozenset[Any], list[Any]] = defaultdict(list)
        for entry in lowest.values():
            self._entries[frozenset(entry.elements)].append(entry)
        self._hulls: dict[frozenset[Any], Any] = {}

    def of(self, elements: frozenset[Any]) -> Any:
        """The hull of all entries made of `elements`; raises ValueError when one has no entry of its own."""
        if elements not in self._hulls:
            from pymatgen.analysis.phase_diagram import PhaseDiagram

            missing = sorted(str(element) for element in elements if frozenset([element]) not in self._entries)
            if missing:
                raise ValueError(
                    f"the hull needs an energy of pure {', '.join(missing)}; add it to the structures or references."
                )
            subsets = (frozenset(some) for size in range(len(elements)) for some in combinations(elements, size + 1))
            self._hulls[elements] = PhaseDiagram([entry for some in subsets for entry in self._entries.get(some, [])])
        return self._hulls[elements]


def _above(entry: Any, hulls: _Hulls) -> Measured:
    if entry is None:
        return Measured()
    try:
        diagram = hulls.of(frozenset(entry.elements))
    except ValueError as failure:
        nothing: dict[str, Value] = {"energy_above_hull_eV_per_atom": None, "hull_decomposition": None}
        return Measured(nothing, error=reason_of(failure))  # nor do those of an earlier, larger hull hold
    decomposition, below = diagram.get_decomposition(entry.composition), diagram.get_hull_energy_per_atom
    above = float(entry.energy_per_atom - below(entry.composition))
    phases = sorted(
        decomposition.items(), key=lambda phase: (-round(phase[1], 6), phase[0].composition.reduced_formula)
    )
    text = " + ".join(
        f"{fraction:.3g} {phase.composition.reduced_formula}" for phase, fraction in phases if fraction > _ATOM_FRACTION
    )
    return Measured({"energy_above_hull_eV_per_atom": max(above, 0.0), "hull_decomposition": text})


HULL = Property(
    "energy above the convex hull of the table and of references",
    COLUMNS,
    HullSettings,
    measure,
    prepare_references,
    hull,
    ("pymatgen",),
)
