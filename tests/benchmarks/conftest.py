"""A small checkpoint with two heads of the model that ships, and a small data folder of labels by springs."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from potentials.backbones.painn import PaiNNConfig
from potentials.checkpoint import save_checkpoint
from potentials.manifest import HeadRecord, describe, golden_structure
from potentials.potential import Potential, PotentialConfig

E0 = {"pbe_metals": {"Cu": -3.0, "Si": -5.0}, "pbe_def2svp": {"H": -13.6, "C": -1030.0, "O": -2040.0}}


def labelled(atoms: Atoms, seed: int, *, stress: bool) -> Atoms:
    """With numbers that no model can know."""
    rng = np.random.default_rng(seed)
    made = atoms.copy()
    made.positions += rng.normal(0, 0.05, made.positions.shape)
    results = {"energy": float(rng.normal()), "forces": rng.normal(size=made.positions.shape)}
    if stress:
        results["stress"] = rng.normal(0, 0.01, 6)
    made.calc = SinglePointCalculator(made, **results)
    return made


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {
        "backbone": PaiNNConfig(cutoff=4.0, width=8, depth=1, radial_size=6),
        "heads": tuple(E0),
        "head_width": 8,
    }
    potential = Potential(PotentialConfig.model_validate(settings), seed=4)
    for head, e0 in E0.items():
        potential.references.set_head(head, e0, scale=1e-3)  # so weak that nothing moves far
    examples = {"pbe_metals": bulk("Cu", cubic=True), "pbe_def2svp": molecule("CH3CH2OH")}
    golden = [golden_structure(potential, atoms, head) for head, atoms in examples.items()]
    record = HeadRecord(elements=(), e0={}, scale=1.0, shift=0.0, labels=("energy", "forces"))
    path = tmp_path_factory.mktemp("card") / "model.safetensors"
    manifest = describe(potential, golden, made_with={"gfm-ase": "0.1.0"}, heads=dict.fromkeys(E0, record))
    save_checkpoint(path, potential, manifest)
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two test files: molecules; and metals, one frame of which has an element that the head has never seen."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "rmd17").mkdir()
    (folder / "mlearn").mkdir()
    ethanol = molecule("CH3CH2OH")
    for part in ("train", "test"):
        frames = [labelled(ethanol, seed, stress=False) for seed in range(3)]
        write(folder / "rmd17" / f"ethanol_{part}.extxyz.gz", frames)
    metals = [bulk("Cu", cubic=True), bulk("Si", cubic=True), bulk("Al", cubic=True)]
    frames = [labelled(atoms, seed, stress=True) for seed, atoms in enumerate(metals)]
    write(folder / "mlearn" / "Cu_test.extxyz.gz", frames)
    write(folder / "mlearn" / "known_test.extxyz.gz", frames[:2])
    return folder
