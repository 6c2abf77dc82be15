"""The state a molecular dynamics run is restarted from: one .npz file, no pickle inside."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.jsonio import encode
from numpy.typing import NDArray

from md_workflows.frames import Mark
from md_workflows.state_file import read_state, write_state

FORMAT = "gfm-ase molecular dynamics state"
VERSION = 1
_VARIABLE = "variable/"
_REPORT = "report/"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MDState:
    """Everything the next step depends on, and how far the files had come.

    positions [N,3] Å · momenta [N,3] ASE units · cell [3,3] Å · variables: the integrator's own, by name ·
    random: state of the random generator · reports: those of the reporters · recorded: frame and log row of `step`
    are in the files · doubts: what a policy on uncertainty has seen, empty where there is none.
    Energies in eV; `start_energy` is the total energy at step 0.
    """

    step: int
    recorded: bool
    positions: Array
    momenta: Array
    cell: Array
    variables: dict[str, Array]
    random: dict[str, Any] | None
    potential_energy: float
    start_energy: float
    marks: dict[str, Mark]
    fingerprint: dict[str, Any]
    reports: dict[str, NDArray[Any]] = field(default_factory=dict)
    doubts: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write beside and rename."""
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "step": self.step,
            "recorded": self.recorded,
            "random": self.random,
            "potential_energy": self.potential_energy,
            "start_energy": self.start_energy,
            "marks": {name: asdict(mark) for name, mark in self.marks.items()},
            "fingerprint": self.fingerprint,
            "doubts": self.doubts,
        }
        arrays: dict[str, NDArray[Any]] = {"positions": self.positions, "momenta": self.momenta, "cell": self.cell}
        arrays |= {_VARIABLE + name: value for name, value in self.variables.items()}
        arrays |= {_REPORT + name: value for name, value in self.reports.items()}
        write_state(path, manifest, arrays)

    @classmethod
    def load(cls, path: Path) -> "MDState":
        """Read a state; raises ValueError when the file is none, is cut short or is of a newer version."""
        manifest, arrays = read_state(path, FORMAT, VERSION, "molecular dynamics state")
        keys = ("step", "recorded", "random", "potential_energy", "start_energy", "fingerprint")
        return cls(
            **{key: manifest[key] for key in keys},
            doubts=manifest.get("doubts", {}),
            marks={name: Mark(**mark) for name, mark in manifest["marks"].items()},
            variables={k.removeprefix(_VARIABLE): v for k, v in arrays.items() if k.startswith(_VARIABLE)},
            reports={k.removeprefix(_REPORT): v for k, v in arrays.items() if k.startswith(_REPORT)},
            positions=arrays["positions"],
            momenta=arrays["momenta"],
            cell=arrays["cell"],
        )


def fingerprint(atoms: Atoms, settings: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for a restart: the settings, and what never changes of the system."""
    system = {
        "numbers": atoms.numbers.tolist(),
        "masses": atoms.get_masses().tolist(),
        "pbc": atoms.pbc.tolist(),
        "constraints": [_constraint(constraint) for constraint in atoms.constraints],
    }
    result: dict[str, Any] = json.loads(json.dumps({"settings": settings, "system": system}))
    return result


def _constraint(constraint: Any) -> str:
    if hasattr(constraint, "todict"):
        return str(encode(constraint.todict()))
    return type(constraint).__name__


def check_same(saved: dict[str, Any], given: dict[str, Any], path: Path) -> None:
    """Raise ValueError naming what differs between the saved and the given fingerprint."""
    before, now = _flat(saved), _flat(given)
    different = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if different:
        told = "; ".join(f"{key}: saved {_brief(before.get(key))}, given {_brief(now.get(key))}" for key in different)
        raise ValueError(
            f"{path} belongs to another run ({told}); ask for the same, or start again with on_existing='overwrite'."
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _brief(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
