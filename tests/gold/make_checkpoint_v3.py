"""How the files of format 3 were made: the potential of format 2 with uncertainties, and an ensemble. NEVER run again.

They stand for what users of format 3 have; see `make_checkpoint_v1.py`.
"""

from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.build import bulk, molecule

from potentials.backbones.egnn import EGNNConfig
from potentials.backbones.painn import PaiNNConfig
from potentials.calibration import HeadCalibration, QuantityCalibration
from potentials.checkpoint import save_calibrated, save_checkpoint
from potentials.ensemble import Ensemble
from potentials.manifest import HeadRecord, describe, golden_structure
from potentials.potential import Potential, PotentialConfig

HERE = Path(__file__).parent
SINGLE, ENSEMBLE = HERE / "checkpoint_v3.safetensors", HERE / "ensemble_v3.safetensors"
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


def calibration(element: str, of_stress: bool) -> HeadCalibration:
    """One that was not found but written down."""
    known = {"structures": {"*": 40}, "values": {"*": 40}, "spread": {"0.9": 0.05}}
    whole = {"0.5": {"*": 0.7}, "0.9": {"*": 1.75}}
    of_atoms = {"0.5": {"*": 0.8, element: 0.9}, "0.9": {"*": 2.25, element: 2.5}}
    quantities = {
        "energy": QuantityCalibration(floor=0.01, factors=whole, **known),
        "forces": QuantityCalibration(floor=0.05, factors=of_atoms, **known),
        **({"stress": QuantityCalibration(floor=1e-4, factors=whole, **known)} if of_stress else {}),
    }
    return HeadCalibration(quantities=quantities, fingerprint="cd" * 32)


def single() -> Potential:
    """The potential of format 2, of the same weights, which knows uncertainties."""
    settings = {
        "backbone": PaiNNConfig(cutoff=4.0, width=8, depth=2, radial_size=6),
        "heads": ("emt", "xtb"),
        "head_width": 8,
        "charge_and_spin": True,
        "outputs": OUTPUTS,
        "last_layer": True,
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
    assert potential.last_layer is not None
    for head, e0, floor in (("emt", EMT_E0, float("inf")), ("xtb", XTB_E0, 0.5)):
        generator = torch.Generator().manual_seed(len(e0))
        whiten = torch.randn(2, 8, 8, generator=generator, dtype=torch.float64)
        factors = {symbol: 0.2 + 0.1 * number for number, symbol in enumerate(e0)}
        potential.last_layer.set_head(head, list(e0), (whiten[0], 0.3), (whiten[1], factors, floor))
    return potential


def ensemble() -> Ensemble:
    """Two of one architecture and one of another, float64."""
    backbones: list[PaiNNConfig | EGNNConfig] = [PaiNNConfig(cutoff=4.0, width=4, depth=1, radial_size=4)] * 2
    backbones.insert(1, EGNNConfig(cutoff=3.5, width=4, depth=1, radial_size=4))
    members = []
    for seed, backbone in enumerate(backbones):
        member = Potential(PotentialConfig(backbone=backbone, heads=("emt",), head_width=4), seed=seed).double()
        member.references.set_head("emt", EMT_E0, scale=10.0 + seed, shift=0.05)
        members.append(member)
    return Ensemble(members, names=("first", "second", "third"))


def main() -> None:
    """Write the files."""
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
    known: dict[str, Any] = {
        "made_with": {"gfm-ase": "0.1.0", "torch": "2.13.0"},
        "training": {"epochs": 0, "reason": "gold"},
    }
    for path, potential in ((SINGLE, single()), (ENSEMBLE, ensemble())):
        of_head = {head: those for head, those in structures().items() if head in potential.heads}
        golden = [golden_structure(potential, atoms, head) for head, those in of_head.items() for atoms in those]
        trainings = [{"seed": seed} for seed in range(3)] if path == ENSEMBLE else []
        records = dict.fromkeys(potential.heads, record)
        manifest = describe(potential, golden, heads=records, trainings=trainings, **known)
        save_checkpoint(path, potential, manifest)
        save_calibrated(path, path, "emt", calibration("Cu", path == ENSEMBLE))


if __name__ == "__main__":
    for file in (SINGLE, ENSEMBLE):
        if file.exists():
            raise SystemExit(f"{file} is kept for ever and is not made again")
    main()
