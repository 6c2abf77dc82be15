"""What `benchmarks.uncertainty` measures: who was trained on what, calibrated on what, and is judged on what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ase import Atoms
from ase.io import read, write

RUN_FILE = """\
output = "{runs}/{name}_0"

[potential.backbone]
name = "ember"
cutoff = 5.0
width = 32
depth = 2

[[dataset]]
name = "{name}"
train = {files}
{valid}
[batch]
max_atoms = {max_atoms}

[optimizer]
learning_rate = {rate}

[stop]
epochs = {epochs}

[log]
validate_every = 5
"""

EVERY = 6
"""Of so many frames, or compositions, one is held back."""


@dataclass(frozen=True)
class Case:
    """One data set.

    Attributes:
        name: for the table.
        head: of the checkpoints.
        members: checkpoints of different seeds.
        training: files they were trained on.
        calibration: files that the factors come from.
        tests: files they are judged on, by label.
        group: key in `info` of frames that belong together, such as those of one trajectory.
    """

    name: str
    head: str
    members: list[Path]
    training: list[Path]
    calibration: list[Path]
    tests: Mapping[str, list[Path]] = field(default_factory=dict)
    group: str | None = None


def split_acac(data: Path, runs: Path) -> str:
    """Every sixth frame of the training file at 300 K is held back."""
    frames: list[Atoms] = read(data / "acac" / "train_300K.extxyz.gz", index=":")
    held = frames[::EVERY]
    kept = [atoms for number, atoms in enumerate(frames) if number % EVERY]
    _write(runs, "acac", kept, held)
    files = f'["{runs}/acac_train.extxyz"]'
    valid = "valid_fraction = 0.1\n"
    settings = {"max_atoms": 75, "rate": "5e-3", "epochs": 120, "valid": valid}
    (runs / "acac.toml").write_text(RUN_FILE.format(runs=runs, name="acac", files=files, **settings))
    return f"acac: {len(kept)} frames to learn from, {len(held)} held back"


def split_mptrj(data: Path, runs: Path) -> str:
    """Every sixth composition of the training file, in alphabetical order, is held back."""
    frames: list[Atoms] = read(data / "mptrj_1k" / "train.extxyz.gz", index=":")
    names = [atoms.get_chemical_formula(empirical=True) for atoms in frames]
    held_names = set(sorted(Counter(names))[::EVERY])
    held = [atoms for atoms, name in zip(frames, names, strict=True) if name in held_names]
    kept = [atoms for atoms, name in zip(frames, names, strict=True) if name not in held_names]
    _write(runs, "mp", kept, held)
    more = [str(data / name / "train.extxyz.gz") for name in ("mpf_tp", "random_tp")]
    files = str([f"{runs}/mp_train.extxyz", *more]).replace("'", '"')
    settings = {"max_atoms": 192, "rate": "2e-3", "epochs": 40, "valid": "valid_fraction = 0.1\n"}
    (runs / "mp.toml").write_text(RUN_FILE.format(runs=runs, name="mp", files=files, **settings))
    return f"mptrj: {len(kept)} frames to learn from, {len(held)} of {len(held_names)} compositions held back"


def _write(runs: Path, name: str, kept: list[Atoms], held: list[Atoms]) -> None:
    write(runs / f"{name}_train.extxyz", kept)
    write(runs / f"{name}_cal.extxyz", held)


def acac(data: Path, runs: Path) -> Iterator[Case]:
    """Trained and calibrated at 300 K."""
    if members := checkpoints(runs, "acac"):
        names = {
            "300 K": "test_300K",
            "600 K": "test_600K",
            "dihedral scan": "test_dihedral",
            "H transfer": "test_H_transfer",
        }
        tests = {label: [data / "acac" / f"{name}.extxyz.gz"] for label, name in names.items()}
        yield Case("acac", "acac", members, [runs / "acac_train.extxyz"], [runs / "acac_cal.extxyz"], tests)


def mptrj(data: Path, runs: Path) -> Iterator[Case]:
    """Calibrated on compositions that were not learnt from; nearly all of the test split are such too."""
    if members := checkpoints(runs, "mp"):
        more = [data / name / "train.extxyz.gz" for name in ("mpf_tp", "random_tp")]
        tests = {"test split": [data / "mptrj_1k" / "test.extxyz.gz"]}
        yield Case("mp", "mp", members, [runs / "mp_train.extxyz", *more], [runs / "mp_cal.extxyz"], tests)


def demo(folder: Path) -> Iterator[Case]:
    """The demo's data sets: calibrated on their validation and test frames, in fifths."""
    members = checkpoints(folder, "run")
    first = folder / "run" / "model.safetensors"
    members = [first, *members] if first.exists() else members
    for name in ("molecules_gfn2", "metals_emt"):
        parts = [folder / "data" / f"{name}_{split}.extxyz" for split in ("train", "valid", "test")]
        if members:
            yield Case(name, name, members, parts[:1], parts[1:], group="group")


def checkpoints(folder: Path, name: str) -> list[Path]:
    """Those of NAME_0, NAME_1, ... that there are."""
    return sorted(folder.glob(f"{name}_[0-9]*/model.safetensors"))
