"""Which head answers: the one named, the only one, or the only one that fits a structure; and what it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from gfm_ase.loading import Loaded
from potentials.manifest import HeadRecord, Manifest
from potentials.models.shipped import ShippedModel
from potentials.references import References
from potentials.structures import structure_state

MOST_ELEMENTS = 8
"""That are listed of a head; of more their number is told."""


class Heads:
    """The heads of a checkpoint: what they were trained on, and what for.

    Args:
        manifest: of the checkpoint.
        model: what it is, if it came with the package.
    """

    def __init__(self, manifest: Manifest, model: ShippedModel | None = None) -> None:
        self.records = manifest.heads
        self._model = model

    @classmethod
    def of(cls, loaded: Loaded) -> Heads:
        """Those of what was loaded."""
        return cls(loaded.manifest, loaded.model)

    def named(self, head: str | None) -> str | None:
        """The head that is asked for; none where the first structure is to choose.

        Raises:
            ValueError: unknown; or left out where there are several and the checkpoint, written before that was noted,
                does not say whether they were trained on molecules or on what repeats.
        """
        if head is None:
            if len(self.records) > 1 and all(record.repeating for record in self.records.values()):
                return None
            return self.required(None)
        if head not in self.records:
            raise ValueError(f"unknown head {head!r}; this potential has {', '.join(self.records)}")
        return head

    def required(self, head: str | None) -> str:
        """The head that is asked for, where no structure can choose.

        Raises:
            ValueError: unknown, or left out where there are several; the message names those there are.
        """
        if head is not None:
            named = self.named(head)
            assert named is not None
            return named
        if len(self.records) == 1:
            return next(iter(self.records))
        told = f": {self._told(self.records)}" if self._model is not None else ""
        raise ValueError(f"this potential has {len(self.records)} heads; choose one: {', '.join(self.records)}{told}")

    def choose(self, structures: Sequence[Atoms]) -> str:
        """The only head that knows the elements of structures and was trained on structures that repeat as they do.

        Raises:
            ValueError: several fit, or none does; the message says which and why.
        """
        assert structures, "nothing to choose by"
        fitting = [head for head in self.records if all(not self.lacks(head, atoms) for atoms in structures)]
        if len(fitting) == 1:
            return fitting[0]
        what = in_words(structures)
        if fitting:
            raise ValueError(
                f"{len(fitting)} heads of this potential fit {what}; choose one by head=..., on the command line by"
                f" --head: {self._told(fitting)}"
            )
        reasons = ("; ".join(f"{head} {self._first_lack(head, structures)}" for head in self.records)).rstrip()
        raise ValueError(f"no head of this potential fits {what}: {reasons}")

    def unchosen(self) -> str:
        """A sentence on a calculator that is asked before its head is chosen."""
        return (
            f"this calculator has {len(self.records)} heads and none is chosen yet; give head=..., one of"
            f" {', '.join(self.records)}, or let structures choose: calculator.choose_head(structures)"
        )

    def lacks(self, head: str, atoms: Atoms) -> str:
        """Why a head does not fit a structure; empty where it does. What nobody knows of a head fits everything."""
        record = self.records[head]
        if unknown := unknown_elements(atoms, record.elements):
            return f"has never seen {', '.join(unknown)}"
        repeats = bool(atoms.pbc.any())
        if record.repeating and not any(count for n, count in record.repeating.items() if bool(n) == repeats):
            return "was trained on molecules alone" if repeats else "was trained on structures that repeat alone"
        return ""

    def others(self, atoms: Atoms, but: str) -> str:
        """A sentence's end on which other heads know all elements of a structure."""
        others = {head: record for head, record in self.records.items() if head != but}
        found = [head for head, record in others.items() if not unknown_elements(atoms, record.elements)]
        if not found:
            return "; nor does another head know all elements of the structure" if others else ""
        return (
            f"; all elements of the structure are known to the head{'s' if len(found) > 1 else ''} {', '.join(found)}"
        )

    def line(self, head: str) -> str:
        """What a head is, in some words: its theory and use where the package knows them, else what it has seen."""
        if self._model is not None and head in self._model.heads:
            return str(self._model.heads[head])
        record = self.records[head]
        return ", ".join(part for part in (elements_of(record), kinds_of(record)) if part)

    def _told(self, heads: Sequence[str] | Any) -> str:
        return "; ".join(f"{head} ({self.line(head)})" for head in heads)

    def _first_lack(self, head: str, structures: Sequence[Atoms]) -> str:
        return next(found for atoms in structures if (found := self.lacks(head, atoms)))


class Known:
    """What one head knows, as structures come.

    Args:
        heads: of the checkpoint.
        head: that answers.
        charge_and_spin: whether the potential sees them.
        by_structure: the first structure has chosen the head; later ones must fit it too.
    """

    def __init__(self, heads: Heads, head: str, *, charge_and_spin: bool, by_structure: bool) -> None:
        self.heads, self.head, self.by_structure = heads, head, by_structure
        self._charge_and_spin = charge_and_spin
        self._checked: tuple[np.ndarray[Any, Any], bool] | None = None

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where a structure has what the head does not know."""
        state = structure_state(atoms)
        if not self._charge_and_spin and (state.charge or state.spin):
            raise ValueError(
                f"atoms.info asks for charge {state.charge:g} and spin {state.spin:g}, but this potential was trained"
                " without them; remove them from atoms.info, or train with charge_and_spin = true"
            )
        repeats = bool(atoms.pbc.any())
        if self._checked is not None:
            numbers, repeated = self._checked
            if repeated == repeats and np.array_equal(atoms.numbers, numbers):
                return
        record = self.heads.records[self.head]
        if self.by_structure and (lack := self.heads.lacks(self.head, atoms)):
            raise ValueError(
                f"this calculator answers by the head {self.head!r}, which its first structure has chosen and which"
                f" {lack}; make another calculator for {in_words([atoms])}"
            )
        _check_elements(atoms, record.elements, self.head, "the structure", self.heads.others(atoms, self.head))
        self._checked = atoms.numbers.copy(), repeats


def unknown_elements(atoms: Atoms, known: Sequence[str]) -> list[str]:
    """Symbols in a structure that are not among those known."""
    return sorted(set(atoms.get_chemical_symbols()) - set(known))


def check_elements_known(atoms: Atoms, references: References, head: str, source: str = "the structure") -> None:
    """Raise ValueError where a head has never seen an element; the message names it and those it knows."""
    _check_elements(atoms, references.elements(head), head, source, "")


def _check_elements(atoms: Atoms, known: Sequence[str], head: str, source: str, others: str) -> None:
    unknown = unknown_elements(atoms, known)
    if unknown:
        raise ValueError(
            f"{source}: head {head!r} has never seen {', '.join(unknown)}; it was trained on {', '.join(known)}{others}"
        )


def choose_head(loaded: Loaded, head: str | None) -> str:
    """The branch meant, of what was loaded; errors as `Heads.required`."""
    return Heads.of(loaded).required(head)


def in_words(structures: Sequence[Atoms]) -> str:
    """What structures are: the formula and kind of one, of several how many."""
    first = structures[0]
    kind = "which repeats" if first.pbc.any() else "a molecule"
    text = f"{first.get_chemical_formula(empirical=bool(first.pbc.any()))} ({kind})"
    return text if len(structures) == 1 else f"all of {len(structures)} structures, of which the first is {text}"


def elements_of(record: HeadRecord) -> str:
    """The elements of a head, or how many they are."""
    if len(record.elements) > MOST_ELEMENTS:
        return f"{len(record.elements)} elements"
    return " ".join(record.elements)


def kinds_of(record: HeadRecord) -> str:
    """What a head was trained on, as far as it is known."""
    molecules = record.repeating.get(0, 0)
    repeating = sum(record.repeating.values()) - molecules
    kinds = [name for name, count in (("molecules", molecules), ("periodic", repeating)) if count]
    return " and ".join(kinds)
