"""What every reporter is: it looks at frames one by one, tells what it found, and can be saved and go on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pydantic import Field

from md_workflows.analysis.blocks import State
from md_workflows.settings import Settings
from md_workflows.snapshot import Snapshot, System, known_system

Floats = NDArray[np.float64]

Table: TypeAlias = Mapping[str, Sequence[Any] | NDArray[Any]]
"""Columns of one CSV file, all of one length; units stand in the names."""

Need = Literal["momenta", "energy", "stress", "uncertainty", "volume"]

WHY = {
    "momenta": "velocities",
    "energy": "energies",
    "stress": "stresses, which the calculator may not give",
    "uncertainty": "uncertainties, which a single potential may not give",
    "volume": "a cell that repeats in all three directions",
}


class ReporterSettings(Settings):
    """interval: steps from one look to the next, during a run; of a trajectory every frame is taken."""

    interval: Annotated[int, Field(ge=1)] = 10


@dataclass(frozen=True)
class Finding:
    """One line of a summary: error is a standard error (NaN: unknown); `converged` False makes it a lower bound."""

    quantity: str
    value: float
    error: float
    unit: str
    converged: bool = True


class Reporter(ABC):
    """Observes one system along time; memory does not grow with the number of frames."""

    name: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]] = ()

    def __init__(self, settings: ReporterSettings) -> None:
        self.interval = settings.interval
        self._system: System | None = None

    @property
    def system(self) -> System:
        """Of the frames that were seen; there must have been one."""
        if self._system is None:
            raise ValueError(f"the report {self.name} has seen no frame; the run is shorter than its interval.")
        return self._system

    @property
    def elements(self) -> list[str]:
        """Symbols of the kinds of atoms, by atomic number."""
        return [chemical_symbols[number] for number in np.unique(self.system.numbers)]

    @property
    def kinds(self) -> NDArray[np.int64]:
        """[N] which of `elements` an atom is of."""
        return np.unique(self.system.numbers, return_inverse=True)[1].astype(np.int64)

    def observe(self, frame: Atoms | Snapshot, step: int = 0, time_fs: float = 0.0) -> None:
        """Look at a frame; of ASE atoms (then with step and time) the results that their calculator holds are taken.

        Raises:
            ValueError: another system than before, or something is missing that the report needs.
        """
        snapshot = frame if isinstance(frame, Snapshot) else Snapshot.of(frame, step, time_fs)
        if self._system is None:
            self._system = snapshot.system
            self._begin()
        if snapshot.system is not self._system or len(snapshot.positions) != len(self._system):
            known_system(snapshot.system, self._system, f"the report {self.name}")
        lacking = missing(self, snapshot)
        if lacking:
            raise ValueError(f"the report {self.name} needs {lacking}; the frame of step {snapshot.step} has none.")
        self._take(snapshot)

    def _begin(self) -> None:  # noqa: B027 - most have nothing to make ready
        """Make ready for the system, which is known now."""

    @abstractmethod
    def _take(self, snapshot: Snapshot) -> None:
        """Look at a frame that holds what is needed."""

    @abstractmethod
    def tables(self) -> dict[str, Table]:
        """What was found, by the middle part of the file's name."""

    @abstractmethod
    def findings(self) -> list[Finding]:
        """The few numbers that a person wants first."""

    def state(self) -> State:
        """Everything a restart needs, as arrays; empty before the first frame."""
        if self._system is None:
            return {}
        system = self._system
        static = {
            "numbers": system.numbers,
            "masses": system.masses,
            "pbc": system.pbc,
            "constraints": np.array(system.constraints),
            "degrees_of_freedom": np.array(system.degrees_of_freedom),
        }
        return join({"system": static, "own": self._state()})

    def restore(self, state: State) -> None:
        """Go on from a state: what follows is the same to the bit as without the interruption."""
        if not state:
            self._system = None
            return
        parts = split(state)
        static = parts["system"]
        self._system = System(
            static["numbers"].astype(np.int64),
            static["masses"].astype(np.float64),
            static["pbc"].astype(bool),
            str(static["constraints"]),
            int(static["degrees_of_freedom"]),
        )
        self._begin()
        self._restore(parts.get("own", {}))

    @abstractmethod
    def _state(self) -> State: ...

    @abstractmethod
    def _restore(self, state: State) -> None: ...


def missing(reporter: Reporter | type[Reporter], snapshot: Snapshot) -> str:
    """What `reporter` needs and `snapshot` lacks, in words; empty where it has all."""
    has = {
        "momenta": snapshot.momenta is not None,
        "energy": snapshot.energy is not None,
        "stress": snapshot.stress is not None,
        "uncertainty": snapshot.uncertainty is not None,
        "volume": bool(snapshot.system.pbc.all()),
    }
    return " and ".join(WHY[need] for need in reporter.needs if not has[need])


def join(parts: Mapping[str, State]) -> State:
    """States of parts as one, with the names of the parts in front."""
    return {f"{part}/{name}": value for part, state in parts.items() for name, value in state.items()}


def split(state: State) -> dict[str, State]:
    """The parts that `join` has joined; those without any array are not there."""
    parts: dict[str, State] = {}
    for name, value in state.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = value
    return parts
