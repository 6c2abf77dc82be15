"""Reporters beside a running simulation: fed when they are due, written to CSV, saved with the state."""

from __future__ import annotations

import csv
from collections.abc import Container, Sequence
from io import StringIO
from pathlib import Path
from typing import IO, Any

from ase import Atoms

from md_workflows.analysis.blocks import State
from md_workflows.analysis.registry import REPORTERS, Wish, reporter_settings
from md_workflows.analysis.reporter import Reporter, Table, join, split
from md_workflows.durable import write_beside
from md_workflows.snapshot import Snapshot, System

TABLES = {"vacf": ("vacf", "vdos")}
"""Reporters that write other tables than one of their own name."""


def all_tables() -> list[str]:
    """The middle parts of the names of all files that an analysis can write."""
    return ["series", *(table for name in REPORTERS for table in TABLES.get(name, (name,)))]


class Reporting:
    """The reporters of one simulated system.

    wishes: as for `build_reporter`, each name once · beside: the trajectory's name; rdf of md.traj is md.rdf.csv. None
    writes nothing.

    Raises:
        ValueError: an unknown or repeated reporter, or settings that are refused.
    """

    def __init__(self, wishes: Sequence[Wish], beside: Path | None = None) -> None:
        if isinstance(wishes, str):
            raise ValueError(f"reporters are a list, as in reporters=['{wishes}'].")
        wanted = [reporter_settings(wish) for wish in wishes]
        names = [name for name, _ in wanted]
        if len(set(names)) != len(names):
            raise ValueError(f"each report can be asked for once; given were {', '.join(names)}.")
        self.settings: dict[str, Any] = {name: settings.model_dump(mode="json") for name, settings in wanted}
        self.reporters: dict[str, Reporter] = {name: REPORTERS[name][1](settings) for name, settings in wanted}
        self._paths = {
            table: report_path(beside, table)
            for name in names
            for table in TABLES.get(name, (name,))
            if beside is not None
        }
        self.unwritten: dict[str, str] = {}
        self._system: System | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that will be written."""
        return tuple(self._paths.values())

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where `atoms` and their calculator cannot give what a reporter needs."""
        self.check_volume(atoms)
        gives = getattr(atoms.calc, "implemented_properties", ())
        self.check_stress("stress" in gives, type(atoms.calc).__name__)

    def check_volume(self, atoms: Atoms) -> None:
        """Raise ValueError where a reporter needs a volume, and `atoms` have none."""
        for name, reporter in self.reporters.items():
            if "volume" in reporter.needs and not atoms.pbc.all():
                raise ValueError(
                    f"the report {name} needs a structure that repeats in all three directions; "
                    f"this one has pbc {atoms.pbc.tolist()}: leave it out."
                )

    def check_stress(self, has_stress: bool, calculator: str) -> None:
        """Raise ValueError where a reporter needs the stress, and the calculator of this name gives none."""
        for name, reporter in self.reporters.items():
            if "stress" in reporter.needs and not has_stress:
                raise ValueError(f"the report {name} needs the stress, which {calculator} does not give; leave it out.")

    def check_uncertainty(self, given: Container[str], calculator: str) -> None:
        """Raise ValueError where a reporter needs the uncertainty, which is not among the results that are given."""
        if any("uncertainty" in reporter.needs for reporter in self.reporters.values()) and "uncertainty" not in given:
            raise ValueError(
                f"the report uncertainty needs a calculator that gives its uncertainty, which {calculator} does not; "
                "leave it out."
            )

    def observe(self, atoms: Atoms, step: int, time_fs: float) -> None:
        """Show `atoms`, after `step` steps, to the reporters that are due; may have the calculator give the stress."""
        due = [reporter for reporter in self.reporters.values() if step % reporter.interval == 0]
        if not due:
            return
        if any("stress" in reporter.needs for reporter in due):
            atoms.get_stress()
        if not atoms.has("momenta"):
            atoms.set_momenta(0 * atoms.positions)  # at rest, which reporters cannot tell from unknown
        if self._system is None:
            self._system = System.of(atoms)
        snapshot = Snapshot.of(atoms, step, time_fs, self._system)
        for reporter in due:
            reporter.observe(snapshot)

    def state(self) -> State:
        """Everything a restart needs."""
        return join({name: reporter.state() for name, reporter in self.reporters.items()})

    def restore(self, state: State) -> None:
        """Go on from a state."""
        parts = split(state)
        for name, reporter in self.reporters.items():
            reporter.restore(parts.get(name, {}))
            if reporter.state():
                self._system = self._system or reporter.system

    def write(self) -> None:
        """Write the tables of all reporters; `unwritten` tells which have seen too little, and why."""
        self.unwritten = {}
        for name, reporter in self.reporters.items():
            try:
                tables = reporter.tables()
            except ValueError as error:
                self.unwritten[name] = str(error)
                continue
            for table, columns in tables.items():
                if table in self._paths:
                    write_table(self._paths[table], columns)


def report_path(beside: Path, name: str) -> Path:
    """md.rdf.csv for the table "rdf" of md.traj."""
    return beside.with_name(f"{beside.stem}.{name}.csv")


def write_table(path: Path, table: Table) -> None:
    """Write columns as CSV, with all digits of their numbers; beside and renamed."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    for row in zip(*table.values(), strict=True):
        writer.writerow([_cell(value) for value in row])

    def fill(handle: IO[bytes]) -> None:
        handle.write(text.getvalue().encode())

    write_beside(path, fill)


def _cell(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float) else str(value)
