"""Structures that are there twice: equal to the last digit, or the same crystal described in another way."""

from typing import Protocol

from ase import Atoms


class Twins(Protocol):
    """Finds the earlier one of two equal structures."""

    def find(self, identifier: str, content: str, atoms: Atoms) -> str:
        """The identifier of the first structure equal to this one; of a first one nothing, and it is remembered."""


class ExactTwins:
    """Structures of the same contents: elements, positions, cell, periodicity, charge, spin, constraints."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def find(self, identifier: str, content: str, atoms: Atoms) -> str:  # noqa: ARG002 - of contents alone
        """See `Twins`."""
        first = self._first.setdefault(content, identifier)
        return "" if first == identifier else first
