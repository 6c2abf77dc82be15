"""A small potential of two heads and its checkpoint."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ase.build import bulk, molecule

from potentials.backbones.painn import PaiNNConfig
from potentials.checkpoint import save_checkpoint
from potentials.manifest import HeadRecord, describe, golden_structure
from potentials.potential import Potential, PotentialConfig

MADE_WITH = {"gfm-ase": "0.1.0", "torch": "2.13.0"}


@pytest.fixture
def potential() -> Potential:
    backbone = PaiNNConfig(cutoff=4.0, width=8, depth=2, radial_size=6)
    made = Potential(PotentialConfig(backbone=backbone, heads=("emt", "xtb"), head_width=8), seed=3)
    made.references.set_head("emt", {"Al": -0.1, "Cu": 1 / 3}, scale=0.7, shift=0.05)
    made.references.set_head("xtb", {"H": -10.7, "O": -102.123456789012345}, scale=1.9)
    return made


def write(path: Path, potential: Potential) -> Path:
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=1)
    golden = [golden_structure(potential, crystal, "emt"), golden_structure(potential, molecule("H2O"), "xtb")]
    record = HeadRecord(
        elements=(),
        e0={},
        scale=1.0,
        shift=0.0,
        labels=("energy",),
        fingerprints={"train": "ab" * 32},
        structures={"train": 8, "valid": 2, "test": 0},
        test_errors={"energy_mae_eV_per_atom": 1 / 3},
    )
    training = {"epochs": 3, "config": {"seed": 1}}
    manifest = describe(potential, golden, made_with=MADE_WITH, heads={"emt": record}, training=training)
    save_checkpoint(path, potential, manifest)
    return path


@pytest.fixture
def write_checkpoint() -> Callable[[Path, Potential], Path]:
    """Writes a potential with two golden structures."""
    return write


@pytest.fixture
def checkpoint(tmp_path: Path, potential: Potential) -> Path:
    return write(tmp_path / "model.safetensors", potential)
