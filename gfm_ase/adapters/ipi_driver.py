"""The potential of a checkpoint as a driver of i-PI, all beads in one call.

In i-PI's input, as `ffdirect` writes it::

    <ffdirect name='gfm'>
      <pes>custom</pes> <pes_path>.../gfm_ase/adapters/ipi_driver.py</pes_path> <batch_size>8</batch_size>
      <parameters>{template: start.extxyz, checkpoint: model.safetensors}</parameters>
    </ffdirect>

or as a client of a socket::

    i-pi-driver-py -m custom -P .../ipi_driver.py -u -a NAME -o start.extxyz,model.safetensors
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import ase.io
import numpy as np
from ase import units
from numpy.typing import NDArray

from gfm_ase.adapters.batches import BatchedCalculator, Geometries
from gfm_ase.adapters.foreign import foreign
from potentials.structures import structure_state

DummyDriver: Any = foreign("ipi.pes.dummy", "ipi").Dummy_driver

__DRIVER_NAME__ = "gfm"
__DRIVER_CLASS__ = "GFMDriver"

Answer = tuple[float, NDArray[np.float64], NDArray[np.float64], str]
"""Energy, forces, virial in atomic units, and no extras."""


class GFMDriver(DummyDriver):  # type: ignore[misc]  # a foreign class
    """Energy, forces and virial in i-PI's atomic units.

    Args:
        template: a structure file that ASE reads; elements in i-PI's order, periodicity, charge and spin.
        checkpoint: a file that `gfm-ase train` wrote.
        head: as of `GFMCalculator`.
        device: as of `GFMCalculator`.

    Raises:
        ValueError: as `GFMCalculator`.
    """

    def __init__(
        self, template: str, checkpoint: str, head: str | None = None, device: str = "auto", *args: Any, **kwargs: Any
    ) -> None:
        self.atoms = ase.io.read(template)
        self.state = structure_state(self.atoms)
        self.batched = BatchedCalculator(checkpoint, head=head, device=device)
        super().__init__(*args, **kwargs)

    def compute_structure(self, cell: NDArray[Any], pos: NDArray[Any]) -> Answer:
        """One geometry: cell [3, 3] with the vectors in columns, positions [N, 3], both in bohr."""
        return self.compute_many([cell], [pos])[0]

    def compute(self, cell: Any, pos: Any) -> Any:
        """One geometry, or lists of as many as i-PI has collected."""
        return self.compute_many(cell, pos) if isinstance(cell, list) else self.compute_structure(cell, pos)

    def compute_many(self, cells: list[NDArray[Any]], positions: list[NDArray[Any]]) -> list[Answer]:
        """All geometries in one call of the potential."""
        count, size = len(cells), len(self.atoms)
        computed = self.batched(
            Geometries(
                numbers=np.tile(self.atoms.numbers, count),
                positions=np.concatenate(positions).reshape(-1, 3) * units.Bohr,
                structure=np.repeat(np.arange(count), size),
                cells=np.stack([cell.T for cell in cells]) * units.Bohr,
                pbc=np.tile(self.atoms.pbc, (count, 1)),
                charge=np.full(count, self.state.charge),
                spin=np.full(count, self.state.spin),
            )
        )
        energy = computed["energy"].cpu().numpy() / units.Hartree
        forces = computed["forces"].cpu().numpy().reshape(count, size, 3) / (units.Hartree / units.Bohr)
        virial = -computed["virial"].cpu().numpy() / units.Hartree  # i-PI's is positive where the system pushes
        return [(float(energy[one]), forces[one], virial[one], "") for one in range(count)]


def ffdirect(checkpoint: str | Path, template: str | Path, *, head: str | None = None, batch_size: int = 1) -> str:
    """The `ffdirect` of i-PI's input, with the name "gfm".

    Args:
        checkpoint: file.
        template: structure file.
        head: where there are several.
        batch_size: geometries a call; i-PI wants the number of beads times systems to be a multiple of it.

    Raises:
        ValueError: a path or head with a comma, colon or brace, which i-PI's input cannot hold.
    """
    given = {"template": str(template), "checkpoint": str(checkpoint), **({"head": head} if head else {})}
    for name, value in given.items():
        if set(value) & set(",:{}"):
            raise ValueError(f"{name} is {value!r}; i-PI's input has no way to write , : {{ }} in it: rename it")
    parameters = escape(", ".join(f"{name}: {value}" for name, value in given.items()))
    path = escape(str(Path(__file__).resolve()))
    return (
        f"<ffdirect name='gfm' pbc='False'> <pes> custom </pes> <pes_path> {path} </pes_path>"
        f" <batch_size> {batch_size} </batch_size> <parameters> {{{parameters}}} </parameters> </ffdirect>"
    )
