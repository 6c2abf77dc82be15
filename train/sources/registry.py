"""Every published layout that can be read: its name, its reader, and what the data are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from train.sources import hdf5, json_records
from train.store.manifest import Description


@dataclass(frozen=True)
class Source:
    """A published layout.

    Attributes:
        frames: from a file to (name within it, structure), streaming; labels are in the attached calculator under ASE's
            names, in eV, Å, e and μB, stress with ASE's sign.
        about: theory, licence, citation and address.
    """

    frames: Callable[[Path], Iterator[tuple[str, Atoms]]]
    about: Description


SOURCES: dict[str, Source] = {
    "ani1x": Source(
        hdf5.ani1x,
        Description(
            name="ani1x",
            theory="ωB97X/6-31G(d)",
            licence="CC0-1.0",
            citation="Smith et al., Sci. Data 7, 134 (2020)",
            source="https://doi.org/10.6084/m9.figshare.c.4712477",
        ),
    ),
    "qm7x": Source(
        hdf5.qm7x,
        Description(
            name="qm7x",
            theory="PBE0+MBD/tightly converged numeric orbitals",
            licence="CC-BY-4.0",
            citation="Hoja et al., Sci. Data 8, 43 (2021)",
            source="https://doi.org/10.5281/zenodo.4288677",
        ),
    ),
    "spice": Source(
        hdf5.spice,
        Description(
            name="spice",
            theory="ωB97M-D3(BJ)/def2-TZVPPD",
            citation="Eastman et al., Sci. Data 10, 11 (2023)",
            source="https://github.com/openmm/spice-dataset",
        ),
    ),
    "transition1x": Source(
        hdf5.transition1x,
        Description(
            name="transition1x",
            theory="ωB97x/6-31G(d)",
            citation="Schreiner et al., Sci. Data 9, 779 (2022)",
            source="https://gitlab.com/matschreiner/Transition1x",
        ),
    ),
    "mptrj": Source(
        json_records.mptrj,
        Description(
            name="mptrj",
            theory="PBE and PBE+U (Materials Project), energies without corrections",
            citation="Deng et al., Nat. Mach. Intell. 5, 1031 (2023)",
            source="https://doi.org/10.6084/m9.figshare.23713842",
        ),
    ),
}
"""By the name that `format` has in a run file. A licence is empty where its makers' page has to be asked."""
