"""Tiny data sets labelled by EMT and a harmonic toy, and run files for them."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from train.config import RunConfig
from train.loop import train

SMALL = {"backbone": {"name": "painn", "cutoff": 4.0, "width": 8, "depth": 2, "radial_size": 6}, "head_width": 16}


def alloys(count: int, *, seed: int = 0) -> list[Atoms]:
    """Rattled and strained fcc cells of Cu, Al and Ag, 4 atoms each, with EMT's energy, forces and stress."""
    frames = []
    for number in range(count):
        atoms = bulk("Cu", a=3.7 + 0.05 * (number % 4), cubic=True)
        atoms.numbers[: 1 + number % 3] = (13, 47)[number % 2]
        atoms.rattle(0.08, seed=100 * seed + number)
        emt = EMT()
        results = {name: emt.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


def molecules(count: int) -> list[Atoms]:
    """Rattled molecules with an energy; every other one has forces too, none a stress."""
    frames = []
    for number in range(count):
        atoms = molecule(("H2O", "CH4", "CH3OH")[number % 3])
        start = atoms.positions.copy()
        atoms.rattle(0.05, seed=number)
        moved = atoms.positions - start
        results: dict[str, Any] = {"energy": -5.0 * len(atoms) + 10.0 * float((moved**2).sum())}
        if number % 2 == 0:
            results["forces"] = -20.0 * moved
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """A short eager run on 8 alloys; keyword arguments replace tables of the run file."""
    write(tmp_path / "train.extxyz", alloys(8))
    write(tmp_path / "valid.extxyz", alloys(3, seed=1))

    def make(output: str = "run", **tables: Any) -> RunConfig:
        content: dict[str, Any] = {
            "output": str(tmp_path / output),
            "compile": False,
            "device": "cpu",
            "potential": SMALL,
            "dataset": [{"name": "emt", "train": "train.extxyz", "valid": "valid.extxyz"}],
            "batch": {"max_atoms": 8},
            "stop": {"epochs": 4},
        }
        return RunConfig.model_validate({**content, **tables}, context={"base": tmp_path})

    return make


@pytest.fixture
def write_molecules(tmp_path: Path) -> Callable[[int], str]:
    """Writes molecules beside the alloys; the name of the file."""

    def make(count: int) -> str:
        write(tmp_path / "molecules.extxyz", molecules(count))
        return "molecules.extxyz"

    return make


@pytest.fixture
def write_alloys(tmp_path: Path) -> Callable[[int], None]:
    """Writes more alloys in the place of the eight that are learnt from."""

    def make(count: int) -> None:
        write(tmp_path / "train.extxyz", alloys(count))

    return make


@pytest.fixture
def pretrained(make_config: MakeConfig) -> str:
    """The path of a checkpoint of the head "emt"."""
    return str(train(make_config("first", stop={"epochs": 3})).checkpoint)


@pytest.fixture
def two_hosts() -> Iterator[list[list[str]]]:
    """Commands that run another on one of two hosts: network namespaces with a cable between them."""
    ip = shutil.which("ip") or "/usr/sbin/ip"
    names = [f"gfm{os.getpid()}{side}" for side in "ab"]

    def do(command: str) -> None:
        subprocess.run([ip, *command.split()], check=True, capture_output=True)

    try:
        do(f"netns add {names[0]}")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs root and iproute2, to make network namespaces")
    try:
        do(f"netns add {names[1]}")
        do(f"link add veth0 netns {names[0]} type veth peer name veth1 netns {names[1]}")
        for number, name in enumerate(names):
            do(f"-n {name} addr add 10.199.7.{number + 1}/24 dev veth{number}")
            do(f"-n {name} link set veth{number} up")
            do(f"-n {name} link set lo up")
        yield [[ip, "netns", "exec", name] for name in names]
    finally:
        for name in names:
            subprocess.run([ip, "netns", "del", name], check=False, capture_output=True)
