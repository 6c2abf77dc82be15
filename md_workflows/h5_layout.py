"""How trajectories lie in HDF5: H5MD 1.1, one group of particles for each system.

De Buyl, Colberg and Höfling, Comput. Phys. Commun. 185, 1546 (2014); https://www.nongnu.org/h5md/h5md.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import units

from md_workflows.h5_pages import PagedFile, journal_of
from md_workflows.snapshot import Floats, Snapshot, System
from md_workflows.uncertainty import MARK

GROUP = "trajectory"
"""The group of particles where there is one only; MDAnalysis looks for this name."""

CREATOR = "gfm-ase"
CHUNK_BYTES = 32768  # of positions in one chunk: small enough to hold a part of a frame, large enough to read fast
MAX_CHUNK_FRAMES = 128


@dataclass(frozen=True)
class Element:
    """One quantity of each frame: where it lies, its unit in H5MD's writing, its type and shape.

    shape: "N3", "N", "33", "6" or "" (a number; a mark is 1 or 0). Frames in which it is unknown hold NaN.
    """

    place: str
    unit: str
    shape: str
    dtype: str = "<f8"

    def lengths(self, n_atoms: int) -> tuple[int, ...]:
        """The shape of one frame."""
        return {"N3": (n_atoms, 3), "N": (n_atoms,), "33": (3, 3), "6": (6,), "": ()}[self.shape]


# `velocity` is for other programs and in single precision; `momentum` is ours, to the bit. Forces are not called
# `force` because MDAnalysis refuses files with a unit of it that is not in its table, and eV/Å is not.
ELEMENTS = {
    "positions": Element("particles/{group}/position", "Angstrom", "N3"),
    "cell": Element("particles/{group}/box/edges", "Angstrom", "33"),
    "momenta": Element("particles/{group}/momentum", "eV+1/2 u+1/2", "N3"),
    "velocities": Element("particles/{group}/velocity", "Angstrom fs-1", "N3", "<f4"),
    "forces": Element("particles/{group}/forces", "eV Angstrom-1", "N3"),
    "energy": Element("observables/{group}/potential_energy", "eV", ""),
    "stress": Element("observables/{group}/stress", "eV Angstrom-3", "6"),
    "uncertainty": Element("observables/{group}/uncertainty", "eV Angstrom-1", ""),
    "energy_uncertainty": Element("observables/{group}/energy_uncertainty", "eV", ""),
    "stress_uncertainty": Element("observables/{group}/stress_uncertainty", "eV Angstrom-3", ""),
    "forces_uncertainty": Element("particles/{group}/forces_uncertainty", "eV Angstrom-1", "N"),
    "outside": Element("observables/{group}/outside", "", ""),
    "uncertain": Element("observables/{group}/uncertain", "", ""),
}


def value_of(name: str, snapshot: Snapshot) -> Floats | float | None:
    """What a snapshot says of an element; None where it is unknown."""
    if name != "velocities":
        value: Floats | float | None = getattr(snapshot, name)
        return value
    if snapshot.momenta is None:
        return None
    velocities: Floats = snapshot.momenta / snapshot.system.masses[:, None] * units.fs
    return velocities


def open_h5(path: Path, *, write: bool = False) -> tuple[Any, PagedFile]:
    """An h5py file and the pages that it lies in.

    Raises:
        ValueError: h5py is not installed, the file is missing, or it holds no trajectory of ours.
    """
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{path}: HDF5 needs the extra: pip install gfm-ase[hdf5]") from None
    if not write and not path.is_file():
        raise ValueError(f"{path}: no such file.")
    if write and not path.exists():
        journal_of(path).unlink(missing_ok=True)  # of a file that was removed
    pages = PagedFile(path, write=write)
    new = pages.empty
    try:
        # version 1.8 writes no mark that the file is open, so that others can read it meanwhile
        file = h5py.File(pages, "w" if new else "r+" if write else "r", libver="v108")
        if new:
            _begin(file)
        elif file["h5md/creator"].attrs["name"] != CREATOR:
            raise KeyError
    except (OSError, KeyError) as error:
        pages.close()
        raise ValueError(f"{path} is no HDF5 trajectory that gfm-ase has written ({error or 'of another'}).") from error
    return file, pages


def _begin(file: Any) -> None:
    from importlib.metadata import version

    h5md = file.create_group("h5md")
    h5md.attrs["version"] = np.array([1, 1], dtype=np.int32)
    h5md.create_group("author").attrs["name"] = "unknown"
    creator = h5md.create_group("creator")
    creator.attrs["name"] = CREATOR
    creator.attrs["version"] = version("gfm-ase")
    h5md.create_group("modules/units").attrs["version"] = np.array([1, 0], dtype=np.int32)
    file.create_group("particles")
    file.create_group("observables")


class Series:
    """The frames of one system, open to be appended to, cut or read."""

    def __init__(self, file: Any, group: str) -> None:
        self._file = file
        self._group = group
        particles = file["particles"][group]
        self.system = _system(particles)
        self._step, self._time = particles["position/step"], particles["position/time"]
        self._values = {
            name: file[place]
            for name, element in ELEMENTS.items()
            if (place := element.place.format(group=group) + "/value") in file
        }
        self.count = int(self._step.shape[0])

    @classmethod
    def create(cls, file: Any, group: str, system: System) -> Series:
        """Begin a system without frames."""
        particles = file["particles"].create_group(group)
        particles["species"] = system.numbers.astype(np.int32)
        particles["mass"] = system.masses
        particles["mass"].attrs["unit"] = "u"
        particles.attrs["constraints"] = system.constraints
        particles.attrs["degrees_of_freedom"] = system.degrees_of_freedom
        box = particles.create_group("box")
        box.attrs["dimension"] = 3
        box.attrs["boundary"] = np.array(["periodic" if one else "none" for one in system.pbc], dtype="S8")
        chunk = _chunk(len(system))
        position = particles.create_group("position")
        for name, dtype in (("step", "<i8"), ("time", "<f8")):
            position.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(chunk,))
        position["time"].attrs["unit"] = "fs"
        series = cls(file, group)
        for name in ("positions", "cell"):
            series._value(name)
        return series

    def _value(self, name: str) -> Any:
        """The dataset of an element, made when the first frame knows it; frames before hold NaN."""
        if name not in self._values:
            element = ELEMENTS[name]
            place, lengths = element.place.format(group=self._group), element.lengths(len(self.system))
            group = self._file.require_group(place)
            self._values[name] = group.create_dataset(
                "value",
                (self.count, *lengths),
                element.dtype,
                maxshape=(None, *lengths),
                chunks=(_chunk(len(self.system)), *lengths),
                fillvalue=np.nan,
            )
            self._values[name].attrs["unit"] = element.unit
            for shared, dataset in (("step", self._step), ("time", self._time)):
                if shared not in group:
                    group[shared] = dataset  # a hard link, as H5MD allows for elements sampled together
        return self._values[name]

    def append(self, snapshots: list[Snapshot]) -> None:
        """Write frames behind those that are there."""
        first, last = self.count, self.count + len(snapshots)
        columns = {name: [value_of(name, one) for one in snapshots] for name in ELEMENTS}
        for name, column in columns.items():
            if name in self._values or any(value is not None for value in column):
                self._value(name)
        self.resize(last)
        _put(self._step, first, np.array([one.step for one in snapshots], dtype=np.int64))
        _put(self._time, first, np.array([one.time_fs for one in snapshots], dtype=np.float64))
        for name, dataset in self._values.items():
            if all(value is None for value in columns[name]):
                continue  # the rows hold NaN already
            unknown = np.full(ELEMENTS[name].lengths(len(self.system)), np.nan)
            rows = np.stack([unknown if value is None else value for value in columns[name]])
            _put(dataset, first, rows.astype(ELEMENTS[name].dtype))

    def resize(self, count: int) -> None:
        """Have `count` frames: others are cut, new ones hold NaN."""
        for dataset in (self._step, self._time, *self._values.values()):
            dataset.id.set_extent((count, *dataset.maxshape[1:]))
        self.count = count

    def read(self, frame: int) -> Snapshot:
        """The frame of this number."""
        values = {name: dataset[frame] for name, dataset in self._values.items() if name != "velocities"}
        known = {name: value for name, value in values.items() if not np.isnan(value).all()}
        known.setdefault("positions", values["positions"])
        known.setdefault("cell", values["cell"])
        for name in [name for name in known if not ELEMENTS[name].shape]:
            known[name] = bool(known[name]) if name == MARK else float(known[name])
        return Snapshot(self.system, int(self._step[frame]), float(self._time[frame]), **known)


def _put(dataset: Any, first: int, rows: Any) -> None:
    """`dataset[first:] = rows` without h5py's general selections: a third of the time for a few small frames."""
    from h5py import h5s

    space = dataset.id.get_space()
    space.select_hyperslab((first, *(0,) * (rows.ndim - 1)), rows.shape)
    dataset.id.write(h5s.create_simple(rows.shape), space, np.ascontiguousarray(rows))


def _chunk(n_atoms: int) -> int:
    return min(max(CHUNK_BYTES // max(24 * n_atoms, 1), 1), MAX_CHUNK_FRAMES)


def _system(particles: Any) -> System:
    boundary = particles["box"].attrs["boundary"]
    return System(
        particles["species"][()].astype(np.int64),
        particles["mass"][()],
        np.array([one == b"periodic" for one in boundary]),
        str(particles.attrs["constraints"]),
        int(particles.attrs["degrees_of_freedom"]),
    )
