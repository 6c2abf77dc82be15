"""The state that many runs are restarted from: the columns of a fleet in one .npz file, no pickle inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from md_workflows.analysis.blocks import State
from md_workflows.batched.dynamics.packing import packed, unpacked
from md_workflows.batched.fleet import Fleet, joined
from md_workflows.frames import Mark
from md_workflows.md_state import check_same, fingerprint
from md_workflows.state_file import UNREADABLE, read_state, unreadable, write_state

FORMAT = "gfm-ase state of many molecular dynamics runs"
VERSION = 1
CALLED = "state of many runs"


@dataclass(frozen=True)
class Gone:
    """A run that has ended: its structure's key, why it stopped (empty: it came to its end), the wall time it took."""

    key: int
    stopped: str
    seconds: float


@dataclass(frozen=True)
class BatchState:
    """Everything the next step of many runs depends on, and how far their files had come.

    fleet: those on their way, in their order; None where there are none · gone: those that have ended, and `ended` the
    columns of those of them that ever had a good geometry · began: how many had been taken from the structures given ·
    rounds: steps of the loop · room, ceiling: what one model call may cost, so that the same structures go together
    again; None for models that take one at a time · marks: lengths of files by name · reports: what reporters have
    gathered, by run.
    """

    fingerprint: dict[str, Any]
    identity: str
    fleet: Fleet | None = None
    ended: Fleet | None = None
    gone: list[Gone] = field(default_factory=list)
    began: int = 0
    rounds: int = 0
    room: float | None = None
    ceiling: float | None = None
    marks: dict[str, Mark] = field(default_factory=dict)
    reports: State = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write beside and rename."""
        index, row = packed(self.reports)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "gone": [asdict(one) for one in self.gone],
            "marks": {name: asdict(mark) for name, mark in self.marks.items()},
            "reports": index,
            **{name: getattr(self, name) for name in _PLAIN},
        }
        arrays = {**_arrays("fleet", self.fleet), **_arrays("ended", self.ended)}
        arrays |= {"reports": row} if index else {}
        write_state(path, manifest, arrays)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> BatchState:
        """Read a state.

        Raises:
            ValueError: the file is none, is cut short, or is of another version.
        """
        manifest, arrays = read_state(path, FORMAT, VERSION, CALLED)
        try:
            reports = unpacked(manifest["reports"], arrays.pop("reports")) if manifest.get("reports") else {}
        except UNREADABLE as error:
            raise unreadable(path, CALLED, error) from error
        return cls(
            **{name: manifest[name] for name in _PLAIN},
            gone=[Gone(**one) for one in manifest["gone"]],
            marks={name: Mark(**mark) for name, mark in manifest["marks"].items()},
            fleet=_fleet("fleet", arrays, device),
            ended=_fleet("ended", arrays, device),
            reports=reports,
        )

    def with_gone(self, gone: Sequence[tuple[Gone, Fleet | None]]) -> BatchState:
        """The state with more runs that have ended."""
        fleets = [fleet for fleet in (self.ended, *(fleet for _, fleet in gone)) if fleet is not None]
        ended = joined(fleets) if fleets else None
        return replace(self, gone=[*self.gone, *(one for one, _ in gone)], ended=ended)

    def ended_runs(self) -> list[tuple[Gone, Fleet | None]]:
        """Each run that has ended, with a fleet of it alone, where it ever had a good geometry."""
        keys = [] if self.ended is None else self.ended.keys
        rows = {key: row for row, key in enumerate(keys)}
        return [
            (one, self.ended.part(rows[one.key], rows[one.key] + 1) if self.ended and one.key in rows else None)
            for one in self.gone
        ]

    def check(self, given: BatchState, path: Path) -> None:
        """Raise ValueError naming what differs between the runs of the state and those that are asked for."""
        check_same(self.fingerprint, given.fingerprint, path)
        if self.identity != given.identity:
            raise ValueError(
                f"{path} belongs to another model ({self.identity}, not {given.identity}); "
                "continue with that one, or start again with on_existing='overwrite'."
            )


_PLAIN = ("fingerprint", "identity", "began", "rounds", "room", "ceiling")


def _arrays(name: str, fleet: Fleet | None) -> dict[str, Any]:
    if fleet is None:
        return {}
    levels = {"atom": fleet.atom, "graph": fleet.graph}
    return {
        f"{name}/{level}/{column}": values.cpu().numpy()
        for level, columns in levels.items()
        for column, values in columns.items()
    }


def _fleet(name: str, arrays: dict[str, Any], device: torch.device) -> Fleet | None:
    levels: dict[str, dict[str, Any]] = {"atom": {}, "graph": {}}
    for place, values in arrays.items():
        whose, level, column = place.split("/")
        if whose == name:
            levels[level][column] = torch.from_numpy(values).to(device)
    return Fleet(**levels) if levels["atom"] else None


def extended(state: BatchState, steps: Sequence[int], path: Path) -> BatchState:
    """The state when `steps` [S] are asked of its runs: those that had come to their end and have more to do go on.

    Raises:
        ValueError: a run has taken more steps already.
    """
    ended, fleet = state.ended, state.fleet
    more: set[int] = set()
    if ended is not None:
        stopped = {one.key for one in state.gone if one.stopped}
        _ask(ended, steps, path)
        at = dict(zip(ended.keys, ended.graph["step"].tolist(), strict=True))
        more = {key for key, step in at.items() if key not in stopped and steps[key] > step}
        going_on = torch.tensor([key in more for key in at], device=ended.device)
        fleets = [one for one in (fleet, ended.keep(going_on) if more else None) if one is not None]
        fleet = joined(fleets) if fleets else None
        ended = ended.keep(~going_on) if len(more) < ended.n_structures else None
    if fleet is not None:
        _ask(fleet, steps, path)
    return replace(state, fleet=fleet, ended=ended, gone=[one for one in state.gone if one.key not in more])


def _ask(fleet: Fleet, steps: Sequence[int], path: Path) -> None:
    """Let the runs of a fleet take `steps` in all."""
    for key, step in zip(fleet.keys, fleet.graph["step"].tolist(), strict=True):
        if step > steps[key]:
            raise ValueError(
                f"{path}: structure {key} is at step {step} already, but only {steps[key]} steps are asked for; "
                "steps counts from the very beginning."
            )
    fleet.graph["steps"].copy_(torch.tensor([steps[key] for key in fleet.keys]))


def fingerprint_of_all(structures: Sequence[Atoms], settings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What must be the same for a restart, of each structure by its number.

    What never changes of a structure, and where it began, stand as a digest; settings that all have in common once.
    """
    common = {name: value for name, value in settings[0].items() if all(one.get(name) == value for one in settings)}
    own = [{name: value for name, value in one.items() if name not in common} for one in settings]
    return {
        "structures": {str(key): _digest(atoms) for key, atoms in enumerate(structures)},
        "settings": common,
        "settings of": {str(key): one for key, one in enumerate(own) if one},
    }


def _digest(atoms: Atoms) -> str:
    digest = hashlib.sha256(json.dumps(fingerprint(atoms, {}), sort_keys=True).encode())
    for values in (atoms.positions, atoms.cell.array, atoms.get_momenta()):
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()[:16]
