"""Frames of a data set with their labels, in eV and Å from here on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from potentials.quantities import Quantity
from potentials.structures import structure_state
from train.config_dataset import DatasetConfig, check_own_units
from train.config_paths import files
from train.files import frames_of
from train.frame import Floats, Frame
from train.reading_outputs import find, labelled, labels_there, output_labels
from train.sieve import BadFrameError, Progress, Sieve
from train.store.frames import stored_frames
from train.store.manifest import is_store

ASYMMETRY = 0.01
"""Part of the largest component by which a 3×3 stress may fail to be symmetric: rounding, not another quantity."""

VOIGT_INDEX = [[0, 5, 4], [5, 1, 3], [4, 3, 2]]
"""Which of xx, yy, zz, yz, xz, xy stands where in the 3×3 stress."""

LOOKS_LIKE = {"energy": r"energ|^e$|e_?tot", "forces": r"force", "stress": r"stress|virial"}


def read_frames(
    config: DatasetConfig,
    split: str,
    base: Path | None = None,
    *,
    outputs: Sequence[Quantity] = (),
    sieve: Sieve | None = None,
    progress: Progress | None = None,
) -> list[Frame]:
    """The frames of one split ("train", "valid" or "test"); none where it has no files.

    Args:
        config: which files, which keys, which units.
        split: whose files.
        base: folder at which relative paths start; `load_config` leaves none.
        outputs: of the potential, whose labels are read too.
        sieve: counts the frames left out.
        progress: told after every hundred frames.

    Raises:
        ValueError: a file that is not there or cannot be read, a frame that cannot be right (unless `on_bad` is
            "drop"), labels under a key that no frame has.
    """
    seen: list[Atoms] = []
    frames = list(stream_frames(config, split, base, outputs=outputs, sieve=sieve, progress=progress, seen=seen.append))
    if seen:
        check_keys(config, split, seen, outputs)
    return frames


def stream_frames(
    config: DatasetConfig,
    split: str,
    base: Path | None = None,
    *,
    outputs: Sequence[Quantity] = (),
    sieve: Sieve | None = None,
    progress: Progress | None = None,
    seen: Callable[[Atoms], None] = lambda _: None,
) -> Iterator[Frame]:
    """The frames of one split, one after the other; as `read_frames`, which also looks at the keys.

    Args:
        config, split, base, outputs, sieve, progress: as of `read_frames`.
        seen: told of every structure, those that are left out included.

    Raises:
        ValueError: as `read_frames`.
    """
    whose = f"data set {config.name!r}, {split}"
    sieve = sieve or Sieve(config.name, config.on_bad)
    number = 0
    for path in files(getattr(config, split), base or Path(), whose):
        for source, atoms, make in _each(path, config, outputs):
            number += 1
            seen(atoms)
            if progress and number % 100 == 0:
                progress(f"reading {config.name} {split}", number, None)
            try:
                frame = make()
            except BadFrameError as bad:
                sieve.reject(source, bad.kind, str(bad))
                continue
            if _exceeds(frame, config.max_force):
                sieve.leave_out(source, "force above max_force", f"a force is larger than {config.max_force} eV/Å")
                continue
            yield frame


def _each(
    path: Path, config: DatasetConfig, outputs: Sequence[Quantity]
) -> Iterator[tuple[str, Atoms, Callable[[], Frame]]]:
    """Source and structure of each frame, and what makes the frame of it."""
    if not is_store(path):
        if config.format != "auto":
            check_own_units(config, f"{path} is in the layout of {config.format}")
        for source, atoms in frames_of(path, config.format):
            yield source, atoms, partial(_labelled_frame, atoms, source, config, outputs)
        return
    check_own_units(config, f"{path} is a store")
    for frame in stored_frames(path, labelled(outputs)):
        atoms = frame.atoms
        atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=frame.forces)
        atoms.calc.results.update(frame.outputs)
        yield frame.source, atoms, partial(_itself, frame)


def _itself(frame: Frame) -> Frame:
    return frame


def check_keys(config: DatasetConfig, split: str, seen: Sequence[Atoms], outputs: Sequence[Quantity] = ()) -> None:
    """Raise ValueError where labels are looked for under a name that no frame has."""
    _check_keys(config, split, seen, outputs)
    _check_output_keys(config, split, seen)


def overlooked(config: DatasetConfig, frames: Sequence[Frame]) -> list[str]:
    """A line for each quantity that no frame has although something is there that is called like it."""
    lines = []
    for quantity in ("forces", "stress"):
        near = [name for name in _candidates(quantity, [frame.atoms for frame in frames]) if name != quantity]
        if near and all(getattr(frame, quantity) is None for frame in frames) and not _key(config, quantity):
            lines.append(f"no {quantity} found, but there is {near[0]!r}; is {quantity}_key = {near[0]!r} meant?")
    return lines


def _key(config: DatasetConfig, quantity: str) -> str | None:
    key: str | None = getattr(config, f"{quantity}_key")
    return key


def _exceeds(frame: Frame, max_force: float | None) -> bool:
    if max_force is None or frame.forces is None:
        return False
    return bool(np.linalg.norm(frame.forces, axis=1).max() > max_force)


def _labelled_frame(atoms: Atoms, source: str, config: DatasetConfig, outputs: Sequence[Quantity]) -> Frame:
    if not len(atoms):
        raise BadFrameError("empty frame", "the frame has no atoms")
    if config.spin == "multiplicity" and "spin" in atoms.info:
        atoms.info["spin"] = structure_state(atoms).spin - 1
    more = output_labels(atoms, config, outputs)
    return Frame(atoms, source, _energy(atoms, config), _forces(atoms, config), _stress(atoms, config), more)


def _energy(atoms: Atoms, config: DatasetConfig) -> float | None:
    value = _numbers(atoms, config, "energy")
    if value is None:
        return None
    if value.size != 1:
        raise BadFrameError("bad label", f"the energy has shape {list(value.shape)}; it must be one number")
    return float(value.reshape(())) * config.energy_factor


def _forces(atoms: Atoms, config: DatasetConfig) -> Floats | None:
    value = _numbers(atoms, config, "forces")
    if value is None:
        return None
    if value.shape != (len(atoms), 3):
        raise BadFrameError("bad label", f"the forces have shape {list(value.shape)}; they must be [{len(atoms)}, 3]")
    return value * config.forces_factor


def _stress(atoms: Atoms, config: DatasetConfig) -> Floats | None:
    value = _numbers(atoms, config, "stress")
    if value is None:
        return None
    if value.shape == (6,):
        matrix = value[np.array(VOIGT_INDEX)]
    elif value.size == 9:
        matrix = value.reshape(3, 3)
    else:
        raise BadFrameError(
            "bad label", f"the stress has shape {list(value.shape)}; it must be 6 numbers (Voigt) or 3×3"
        )
    if not (atoms.pbc.any() and atoms.cell.volume > 1e-6):
        if matrix.any():
            raise BadFrameError("bad label", "the frame has a stress, but no periodic cell that it could act on")
        return None
    if np.abs(matrix - matrix.T).max() > ASYMMETRY * np.abs(matrix).max():
        raise BadFrameError("bad label", f"the stress {matrix.tolist()} is not symmetric")
    volume = atoms.cell.volume if config.stress_unit == "eV" else 1.0
    symmetric: Floats = 0.5 * (matrix + matrix.T) * (config.stress_factor / volume)
    return symmetric


def _numbers(atoms: Atoms, config: DatasetConfig, quantity: str) -> Floats | None:
    """A label as it is written, float64; None where the frame has none."""
    given = _lookup(atoms, _key(config, quantity), quantity)
    if given is None:
        return None
    try:
        value = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadFrameError("bad label", f"the {quantity} is {str(given)[:60]!r}; it must be numbers") from None
    if not np.isfinite(value).all():
        first = value[~np.isfinite(value)].flat[0]
        raise BadFrameError(
            "bad label", f"the {quantity} contains {first}; a label must be finite, or not there at all"
        )
    return value


def _lookup(atoms: Atoms, key: str | None, quantity: str) -> Any:
    """ASE's readers move what has a standard name into the calculator, so a key is looked for there as well.

    The results are taken as they are: get_forces() would set those of fixed atoms to zero. Without a key only the
    quantity itself will do: free_energy is not energy.
    """
    results = getattr(atoms.calc, "results", {})
    if key is None:
        return results.get(quantity)
    return find(atoms, key)


def _check_keys(config: DatasetConfig, split: str, seen: Sequence[Atoms], outputs: Sequence[Quantity]) -> None:
    """Raise where labels are looked for under a name that no frame has."""
    learnt = {label for frame in seen for label in labels_there(frame, config, outputs)}
    for quantity in ("energy", "forces", "stress"):
        key = _key(config, quantity)
        # a test file may lack forces or stress, a training file in which nothing is called like the key is a mistake
        if not (quantity == "energy" or (key and split == "train")):
            continue
        # structures with other labels alone teach outputs
        if quantity == "energy" and learnt and not (key or _candidates(quantity, seen)):
            continue
        if any(_lookup(atoms, key, quantity) is not None for atoms in seen):
            continue
        there = sorted({name for atoms in seen for name in _names(atoms)})
        near = _candidates(quantity, seen) or difflib.get_close_matches(key or quantity, there, n=1)
        looked = f"called {key!r}" if key else "in an attached calculator"
        raise ValueError(
            f"data set {config.name!r}: none of the {len(seen)} frames of {split} has {_article(quantity)} {looked}; "
            f"there is {', '.join(there) or 'nothing but the structures'}"
            + (f"; did you mean {quantity}_key = {near[0]!r}?" if near else "")
        )


def _check_output_keys(config: DatasetConfig, split: str, seen: Sequence[Atoms]) -> None:
    """Raise where the run file names a key of an output that no training frame has."""
    for name, label in config.labels.items():
        if label.key and split == "train" and all(find(atoms, label.key) is None for atoms in seen):
            there = sorted({name for atoms in seen for name in _names(atoms)})
            near = difflib.get_close_matches(label.key, there, n=1)
            raise ValueError(
                f"data set {config.name!r}: none of the {len(seen)} frames of {split} has {name} called {label.key!r};"
                f" there is {', '.join(there)}" + (f"; did you mean labels.{name}.key = {near[0]!r}?" if near else "")
            )


def _article(quantity: str) -> str:
    return {"energy": "an energy", "forces": "forces", "stress": "a stress"}[quantity]


def _names(atoms: Atoms) -> list[str]:
    arrays = [name for name in atoms.arrays if name not in {"numbers", "positions"}]
    return [*atoms.info, *arrays, *getattr(atoms.calc, "results", {})]


def _candidates(quantity: str, seen: Sequence[Atoms]) -> list[str]:
    pattern = re.compile(LOOKS_LIKE[quantity], re.IGNORECASE)
    return sorted({name for atoms in seen for name in _names(atoms) if pattern.search(name)})
