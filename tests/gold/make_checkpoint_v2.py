"""How `checkpoint_v2.safetensors` was made: the potential of format 1, with outputs. NEVER run this again.

The file stands for what users of format 2 have; see `make_checkpoint_v1.py`.
"""

from pathlib import Path

from ase import Atoms
from ase.build import bulk, molecule

from potentials.backbones.painn import PaiNNConfig
from potentials.checkpoint import save_checkpoint
from potentials.manifest import HeadRecord, describe, golden_structure
from potentials.potential import Potential, PotentialConfig

GOLD = Path(__file__).parent / "checkpoint_v2.safetensors"
EMT_E0 = {"Al": -0.1, "Cu": -0.25}
XTB_E0 = {"H": -10.7, "C": -48.8, "O": -102.5}
OUTPUTS = [
    {"name": "charges", "width": 4},
    {"name": "dipole", "width": 4},
    {"name": "magmoms", "width": 4, "shared": True},
    {"name": "direct_forces", "width": 4},
    {"name": "gap", "level": "graph", "extensive": False, "unit": "eV", "width": 4},
]


def structures() -> dict[str, list[Atoms]]:
    """Two golden structures of each head: a crystal, a slab, a molecule and a charged molecule."""
    alloy = bulk("Cu", cubic=True)
    alloy.numbers[0] = 13
    alloy.rattle(0.1, seed=1)
    slab = alloy.copy()
    slab.pbc = (True, True, False)
    water, ion = molecule("H2O"), molecule("CH3OH")
    ion.info.update(charge=1.0, spin=1.0)
    return {"emt": [alloy, slab], "xtb": [water, ion]}


def main() -> None:
    """Write the file."""
    settings = {
        "backbone": PaiNNConfig(cutoff=4.0, width=8, depth=2, radial_size=6),
        "heads": ("emt", "xtb"),
        "head_width": 8,
        "charge_and_spin": True,
        "outputs": OUTPUTS,
    }
    potential = Potential(PotentialConfig.model_validate(settings), seed=7)
    potential.references.set_head("emt", EMT_E0, scale=0.7, shift=0.05)
    potential.references.set_head("xtb", XTB_E0, scale=1.9)
    assert potential.outputs is not None
    for name, scale, shift in (("charges", 30.0, 0.0), ("dipole", 20.0, 0.0), ("gap", 2.0, 5.0)):
        potential.outputs.output(name).set_scale("xtb", scale, shift)
    for head in ("emt", "xtb"):
        potential.outputs.output("magmoms").set_scale(head, 0.5, 1.5)
        potential.outputs.output("direct_forces").set_scale(head, 100.0)
    golden = [golden_structure(potential, atoms, head) for head, those in structures().items() for atoms in those]
    record = HeadRecord(
        elements=(),
        e0={},
        scale=1.0,
        shift=0.0,
        labels=("energy", "forces"),
        fingerprints={"train": "0" * 64},
        structures={"train": 2, "valid": 0, "test": 0},
        test_errors={"energy_mae_eV_per_atom": 0.0125},
    )
    manifest = describe(
        potential,
        golden,
        made_with={"gfm-ase": "0.1.0", "torch": "2.13.0"},
        heads={"emt": record, "xtb": record},
        training={"epochs": 0, "reason": "gold"},
    )
    save_checkpoint(GOLD, potential, manifest)


if __name__ == "__main__":
    if GOLD.exists():
        raise SystemExit(f"{GOLD} is kept for ever and is not made again")
    main()
