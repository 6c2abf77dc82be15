"""Candidates: structures that a potential does not know, kept for labelling."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from md_workflows.frames import ExtxyzWriter, Mark, mark_file
from md_workflows.uncertainty import UncertaintyPolicy, note_uncertainties, uncertainties_of

CANDIDATES = "candidates"
"""The name of their file among the marks of a state."""


def candidate(atoms: Atoms, **info: str | float) -> Atoms:
    """A structure for labelling: with its uncertainties, and without energies and forces, which are not its labels."""
    found: Atoms = atoms.copy()
    found.info.update(info)
    note_uncertainties(found, uncertainties_of(atoms))
    return found


class CandidateFile:
    """A file of candidates, which is there from the first one on.

    Args:
        path: .extxyz; None takes none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def append(self, frame: Atoms) -> None:
        """Append a structure; it can be read at once."""
        assert self._path is not None
        writer = ExtxyzWriter(self._path)
        try:
            writer.write(frame)
        finally:
            writer.close()

    def marks(self) -> dict[str, Mark]:
        """The length of the file, once all of it is on the disk; nothing where none are taken."""
        return {} if self._path is None else {CANDIDATES: mark_file(self._path)}


def candidates_path(policy: UncertaintyPolicy | None, beside: Path | None) -> Path | None:
    """Where candidates go; None where none are kept.

    Args:
        policy: what is asked for.
        beside: the usual place, None where there is none.

    Raises:
        ValueError: they are to be kept, and no place is known.
    """
    if policy is None or policy.action == "mark":
        return None
    if policy.candidates is not None or policy.action == "stop":
        return policy.candidates
    if beside is None:
        raise ValueError(
            "action 'keep' needs a file for the candidates; name one (candidates, --candidates), or files of the run."
        )
    return beside
