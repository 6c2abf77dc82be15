"""What potentials and ensembles of them say alike: their heads, and the names of what comes out."""

from __future__ import annotations

from typing import ClassVar, Protocol

from potentials.output_config import OutputConfig
from potentials.quantities import QUANTITIES, UNCERTAINTIES, Quantity


class _Config(Protocol):
    @property
    def outputs(self) -> tuple[OutputConfig, ...]: ...


class Answering:
    """A part of a module that evaluates graphs.

    Attributes:
        config: with the outputs.
        heads: names of the branches.
    """

    KIND: ClassVar[str]
    """What it is called in messages."""

    config: _Config
    heads: tuple[str, ...]

    @property
    def uncertainties(self) -> tuple[str, ...]:
        """Names of the uncertainties that come out."""
        raise NotImplementedError

    def head_index(self, head: str) -> int:
        """Row of a branch.

        Raises:
            ValueError: there is no such branch; the message names those there are.
        """
        if head not in self.heads:
            raise ValueError(f"unknown head {head!r}; this {self.KIND} has {', '.join(self.heads)}")
        return self.heads.index(head)

    @property
    def quantities(self) -> dict[str, Quantity]:
        """What comes out, by name: energy, energies, forces, stress, the outputs and the uncertainties."""
        outputs = {output.name: output.quantity for output in self.config.outputs}
        return {**QUANTITIES, **outputs, **{name: UNCERTAINTIES[name] for name in self.uncertainties}}

    @property
    def results(self) -> tuple[str, ...]:
        """Names of all that comes out with derivatives, in one order."""
        return (*QUANTITIES, "virial", *(output.name for output in self.config.outputs), *self.uncertainties)
