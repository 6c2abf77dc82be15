"""Checkpoints to calculate with: two levels of theory, with and without charge and spin."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from potentials.backbones.painn import PaiNNConfig
from potentials.checkpoint import save_checkpoint
from potentials.manifest import HeadRecord, describe, golden_structure
from potentials.potential import Potential, PotentialConfig

HEADS = {"emt": {"Al": -0.1, "Cu": -0.25}, "xtb": {"H": -10.7, "C": -48.8, "O": -102.5}}


OUTPUTS = {
    "emt": ("magmoms", "direct_forces", "hardness"),
    "xtb": ("charges", "dipole", "magmoms", "direct_forces", "gap", "field"),
}
"""What each head has learnt, in the fixture `with_outputs`."""


def write(
    path: Path,
    heads: dict[str, dict[str, float]],
    *,
    charge_and_spin: bool = False,
    outputs: bool = False,
    labels: tuple[str, ...] = (),
) -> Path:
    backbone = PaiNNConfig(cutoff=4.0, width=8, depth=2, radial_size=6)
    settings = {"backbone": backbone, "heads": tuple(heads), "head_width": 8, "charge_and_spin": charge_and_spin}
    if outputs:
        own = {"gap": {"level": "graph", "extensive": False}, "hardness": {"level": "graph"}}
        own["field"] = {"level": "atom", "kind": "vector"}
        names = sorted({name for those in OUTPUTS.values() for name in those})
        settings["outputs"] = [{"name": name, **own.get(name, {})} for name in names]
    potential = Potential(PotentialConfig.model_validate(settings), seed=4)
    for head in heads if outputs else ():
        for name in OUTPUTS[head]:
            assert potential.outputs is not None
            potential.outputs.output(name).set_scale(head, 20.0)
    examples = {"emt": bulk("Cu", cubic=True), "xtb": molecule("H2O")}
    for head, e0 in heads.items():
        potential.references.set_head(head, e0, scale=2.0, shift=0.05)
    golden = [golden_structure(potential, examples[head], head) for head in heads]
    record = HeadRecord(elements=(), e0={}, scale=1.0, shift=0.0, labels=labels)
    records = dict.fromkeys(heads, record)
    save_checkpoint(path, potential, describe(potential, golden, made_with={"gfm-ase": "0.1.0"}, heads=records))
    return path


@pytest.fixture(scope="session")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads emt (Al, Cu) and xtb (H, C, O), float32, cutoff 4 Å."""
    return write(tmp_path_factory.mktemp("two") / "model.safetensors", HEADS)


@pytest.fixture(scope="session")
def one_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The head emt alone."""
    return write(tmp_path_factory.mktemp("one") / "model.safetensors", {"emt": HEADS["emt"]})


@pytest.fixture(scope="session")
def conditioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The head xtb, which knows charge and spin."""
    return write(tmp_path_factory.mktemp("charged") / "model.safetensors", {"xtb": HEADS["xtb"]}, charge_and_spin=True)


@pytest.fixture(scope="session")
def with_outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both heads, charge and spin, and outputs of which each head has learnt some."""
    path = tmp_path_factory.mktemp("outputs") / "model.safetensors"
    return write(path, HEADS, charge_and_spin=True, outputs=True)


@pytest.fixture(scope="session")
def without_energies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `with_outputs`, of data that had no energies."""
    path = tmp_path_factory.mktemp("gaps") / "model.safetensors"
    return write(path, HEADS, charge_and_spin=True, outputs=True, labels=("gap",))


@pytest.fixture
def alloy() -> Atoms:
    """A rattled cell of 8 atoms, sheared a little."""
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.numbers[::3] = 13
    shear = np.array([[0, 0.1, 0], [0.2, 0, 0.1], [0, 0, 0]])
    atoms.set_cell(atoms.cell.array + shear, scale_atoms=True)
    atoms.rattle(0.1, seed=5)
    return atoms
