"""HydraGNN's ADIOS2 files."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from train.sources.structures import labelled

Array = NDArray[Any]

GROUPS = ("trainset", "valset", "testset")
"""As HydraGNN's examples call them."""

READ = ("atomic_numbers", "x", "pos", "cell", "pbc", "energy", "energy_per_atom", "forces", "force", "graph_attr")
"""What is read of a structure, where it is there. Edges are not: they are made anew, without a limit to neighbours."""

REGRESSION = "energy_linear_regression_coeff"
AT_ONCE = 1024
"""Structures that are read together."""


def hydragnn(path: Path) -> Iterator[tuple[str, Atoms]]:
    """HydraGNN's `.bp`, as its `AdiosWriter` makes it: `OC.bp` for all in it, `OC.bp/valset` for one of its groups.

    A group has the attribute `ndata` and, of each key, the array of all structures, joined along the dimension
    `variable_dim`, with `variable_count` and `variable_offset` of each structure. Read are `pos` (Å), `atomic_numbers`
    or the first column of `x`, `cell`, `pbc`, `energy` (total, eV), `forces` (eV/Å) and `graph_attr` (charge and
    multiplicity, where 0 is none). Units are those of HydraGNN's examples; the file does not state them.

    Where the file tells the coefficients of a linear regression over the elements, it has been taken off the energies,
    and is put back. `energy_per_atom` shows which of the two energies it was taken off, and must agree.
    """
    try:
        adios2 = importlib.import_module("adios2")
    except ImportError:
        raise ValueError(f"{path} needs adios2: pip install 'gfm-ase[adios]'") from None
    whole = path if path.suffix == ".bp" else path.parent
    with _opened(adios2, whole) as file:
        attributes, variables = file.available_attributes(), file.available_variables()
        _check_whole(whole, file, tuple(variables))
        there = sorted(
            (name.removesuffix("/ndata") for name in attributes if name.endswith("/ndata")),
            key=lambda name: (GROUPS.index(name) if name in GROUPS else len(GROUPS), name),
        )
        if not there:
            raise ValueError("it has no group with the attribute ndata, which HydraGNN's AdiosWriter makes")
        if path != whole and path.name not in there:
            raise ValueError(f"it has no group {path.name}; there is {', '.join(there)}")
        coefficients = np.asarray(file.read_attribute(REGRESSION)) if REGRESSION in attributes else None
        for group in there if path == whole else [path.name]:
            for number, record in enumerate(_Group(file, group, tuple(variables)).records()):
                yield f"{group}/{number}" if path == whole else str(number), _structure(record, coefficients)


def _opened(adios2: Any, path: Path) -> Any:
    try:
        return adios2.FileReader(str(path))
    except Exception as error:  # of several classes, coloured, and with the time of day
        said = re.sub(r"\x1b\[[0-9;]*m|\[[^]]*\d\d:\d\d:\d\d[^]]*\]", "", str(error))
        raise ValueError(f"adios2 cannot open it:{' '.join(said.split()).removeprefix('[ADIOS2 EXCEPTION]')}") from None


def _check_whole(path: Path, file: Any, variables: tuple[str, ...]) -> None:
    """Raise where less is on the disk than the index tells: adios2 would wait for the rest to be written, without end.

    HydraGNN compresses nothing, so the arrays are there byte by byte.
    """
    parts = list(path.glob("data.*")) if path.is_dir() else [path]
    there = sum(part.stat().st_size for part in parts)
    arrays = [file.inquire_variable(name) for name in variables]
    told = sum(array.sizeof() * math.prod(array.shape()) for array in arrays)
    if told > there:
        raise ValueError(f"it has {there} bytes of data of the {told} that its index tells; it is not whole")


@dataclass
class _Group:
    """One of the data sets of a file.

    Attributes:
        file: adios2.FileReader.
        name: "trainset", ...
        variables: names of all arrays of the file.
    """

    file: Any
    name: str
    variables: tuple[str, ...]

    def records(self) -> Iterator[dict[str, Array]]:
        """What is read of each structure, by key."""
        count = int(np.asarray(self.file.read_attribute(f"{self.name}/ndata")).reshape(-1)[0])
        keys = [key for key in READ if f"{self.name}/{key}" in self.variables]
        for first in range(0, count, AT_ONCE):
            several = min(AT_ONCE, count - first)
            columns = {key: self._read(key, first, several) for key in keys}
            for number in range(several):
                yield {key: column[number] for key, column in columns.items()}

    def _read(self, key: str, first: int, several: int) -> list[Array]:
        """One key of `several` structures."""
        name = f"{self.name}/{key}"
        counts, offsets = (
            np.asarray(self.file.read(f"{name}/variable_{what}", [first], [several])) for what in ("count", "offset")
        )
        if (offsets[1:] != (offsets + counts)[:-1]).any():
            raise ValueError(f"{name} is not in the order of the structures")
        dimension = int(np.asarray(self.file.read_attribute(f"{name}/variable_dim")).reshape(-1)[0])
        shape = [int(length) for length in self.file.inquire_variable(name).shape()]
        start = [0] * len(shape)
        start[dimension], shape[dimension] = int(offsets[0]), int(counts.sum())
        joined = np.asarray(self.file.read(name, start, shape)).reshape(shape)
        return np.split(joined, np.cumsum(counts)[:-1], axis=dimension)


def _structure(record: dict[str, Array], coefficients: Array | None) -> Atoms:
    numbers = record["atomic_numbers"] if "atomic_numbers" in record else record["x"][:, 0]
    atoms = Atoms(
        numbers=np.asarray(numbers).reshape(-1).astype(np.int64),
        positions=np.asarray(record["pos"], dtype=np.float64),
        cell=np.asarray(record["cell"], dtype=np.float64).reshape(3, 3) if "cell" in record else None,
        pbc=np.asarray(record["pbc"]).reshape(3).astype(bool) if "pbc" in record else False,
    )
    state = record.get("graph_attr")
    if state is not None:
        if state.size != 2:
            raise ValueError(f"graph_attr has {state.size} numbers; it must be charge and multiplicity")
        charge, multiplicity = (float(value) for value in state.reshape(-1))
        atoms.info["charge"], atoms.info["spin"] = charge, max(multiplicity - 1, 0)
    return labelled(
        atoms, energy=_energy(record, atoms, coefficients), forces=record.get("forces", record.get("force"))
    )


def _energy(record: dict[str, Array], atoms: Atoms, coefficients: Array | None) -> float | None:
    """Total energy in eV, of whichever energies there are."""
    taken_off = 0.0 if coefficients is None else float(coefficients.reshape(-1)[atoms.numbers - 1].sum())
    total, per_atom = (
        float(record[key].reshape(-1)[0]) if key in record else None for key in ("energy", "energy_per_atom")
    )
    if per_atom is None:
        return None if total is None else total + taken_off
    mean = per_atom * len(atoms)
    if total is None:
        return mean + taken_off
    for one, other in ((total + taken_off, mean), (total, mean + taken_off)):
        # float32 of what may be a million eV, twice
        if abs(one - other) <= 1e-5 * max(abs(one), abs(mean)) + 1e-3:
            return one
    raise ValueError(
        f"energy {total} eV and energy_per_atom {per_atom} eV of {len(atoms)} atoms contradict each other, with or"
        f" without the regression ({taken_off} eV)"
    )
