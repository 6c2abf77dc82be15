"""How `matcalc.json` was made: what matcalc and matminer say of alloys in ASE's EMT, by the benchmark's protocol.

    python tests/gold/make_matcalc.py     # in an environment with matcalc 0.7.0 and matminer 0.10.1

The moves before the relaxation, which the benchmark draws at random, are given, so that both sides begin alike.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from matcalc import ElasticityCalc, EnergeticsCalc, PhononCalc, RelaxCalc
from matminer.featurizers.site import CrystalNNFingerprint
from matminer.featurizers.structure import SiteStatsFingerprint
from pymatgen.io.ase import AseAtomsAdaptor

GOLD = Path(__file__).parent / "matcalc.json"
ELEMENTS = ("Cu", "Au", "Ag", "Pt", "Al")
FINGERPRINT = SiteStatsFingerprint(
    CrystalNNFingerprint.from_preset("ops", distance_cutoffs=None, x_diff_weight=0),
    stats=("mean", "std_dev", "minimum", "maximum"),
)


def alloys() -> dict[str, Atoms]:
    """Cubic, tetragonal, of two atoms, and one whose cell is not relaxed at all."""
    found = {"Cu3Au": bulk("Cu", a=3.65, cubic=True), "CuAu": bulk("Cu", a=3.85, cubic=True)}
    found["Cu3Au"].symbols[0] = "Au"
    found["CuAu"].symbols[:2] = "Au"
    found["CuAg"] = bulk("Cu", "fcc", a=3.9) * (2, 1, 1)
    found["CuAg"].symbols[0] = "Ag"
    found["Pt3Al"] = bulk("Pt", a=4.0, cubic=True)
    found["Pt3Al"].symbols[0] = "Al"
    found["Pt3Al"].set_cell(found["Pt3Al"].cell * [1.0, 1.02, 0.97], scale_atoms=True)
    return found


def numbers(atoms: Atoms, moves: Any, references: dict[str, Any]) -> dict[str, float]:
    """Everything that the benchmark asks for, with supercells by 2 × 2 × 2 and by length."""
    structure = AseAtomsAdaptor.get_structure(atoms)
    moved = atoms.copy()
    moved.positions += moves
    energetics = EnergeticsCalc(EMT(), elemental_refs=references, use_gs_reference=True, fmax=0.05)
    relaxed = energetics.calc(AseAtomsAdaptor.get_structure(moved))
    features = [np.array(FINGERPRINT.featurize(one)) for one in (relaxed["final_structure"], structure)]
    elastic = ElasticityCalc(EMT(), fmax=0.05, units_GPa=True).calc(structure)
    heat = []
    for repeats in ({"supercell_matrix": np.diag([2, 2, 2])}, {"min_length": 12.0}):
        phonon = PhononCalc(EMT(), fmax=0.05, write_phonon=False, **repeats).calc(structure)
        heat.append(float(phonon["thermal_properties"]["heat_capacity"][30]))
    return {
        "Ef": float(relaxed["formation_energy_per_atom"]),
        "d": float(np.linalg.norm(features[0] - features[1])),
        "K": float(elastic["bulk_modulus_vrh"]),
        "G": float(elastic["shear_modulus_vrh"]),
        "CV": heat[0],
        "CV of 12 A": heat[1],
    }


def main() -> None:
    """Write the file."""
    relaxer = RelaxCalc(EMT(), fmax=0.05)
    references = {}
    for symbol in ELEMENTS:
        result = relaxer.calc(AseAtomsAdaptor.get_structure(bulk(symbol)))
        references[symbol] = {"energy_per_atom": float(result["energy"]) / len(bulk(symbol))}
    random = np.random.default_rng(3)
    gold = {}
    for name, atoms in alloys().items():
        moves = random.standard_normal((len(atoms), 3))
        moves *= 0.1 / np.linalg.norm(moves, axis=1, keepdims=True)
        gold[name] = {
            "symbols": atoms.get_chemical_symbols(),
            "cell": atoms.cell.tolist(),
            "positions": atoms.positions.tolist(),
            "moves": moves.tolist(),
            "numbers": numbers(atoms, moves, references),
        }
    elements = {symbol: value["energy_per_atom"] for symbol, value in references.items()}
    GOLD.write_text(json.dumps({"elements": elements, "alloys": gold}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
