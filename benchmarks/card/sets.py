"""Test files of the data folder, the head that answers for each, and errors published for them.

Published numbers are quoted from the README of each set, in its units and definitions; sources stand there. They are of
potentials that were trained for that set alone, or, for the three sets of MatterSim, on far more data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HEADS = {
    "pbe_mp": ("PBE(+U), Materials Project and Alexandria settings", "mptrj_1k, mpf_tp, alexandria_1k"),
    "pbe_metals": ("PBE (VASP, 520 eV)", "mlearn, nbmotaw"),
    "pbe_def2svp": ("PBE/def2-SVP", "rmd17 (ten molecules), methanol of ethanol_methanol"),
    "pbe_ts": ("PBE + vdW-TS", "md17_original (four molecules)"),
    "pbe_d3_def2svp": ("UHF-PBE-D3/def2-SVP", "acac at 300 K"),
    "wb97x_631gd": ("wB97X/6-31G(d)", "3bpa, s66x8"),
    "ccsdt_ccpvtz": ("CCSD(T)/cc-pVTZ", "ethanol_ccsdt"),
    "lda": ("LDA (CASTEP)", "carbon_lda"),
}
"""Theory and training sets of each head, for people."""


@dataclass(frozen=True)
class Quantity:
    """An error as a group reports it: its key among the errors, what one multiplies by, and its unit in words."""

    key: str
    factor: float
    unit: str


GPA = 160.21766208
TOTAL = Quantity("total_energy_mae_eV", 1e3, "meV")
TOTAL_RMSE = Quantity("total_energy_rmse_eV", 1e3, "meV")
PER_ATOM = Quantity("energy_mae_eV_per_atom", 1e3, "meV/atom")
PER_ATOM_EV = Quantity("energy_mae_eV_per_atom", 1.0, "eV/atom")
FORCES = Quantity("forces_mae_eV_per_A", 1e3, "meV/Å")
FORCES_RMSE = Quantity("forces_rmse_eV_per_A", 1e3, "meV/Å")
FORCES_EV = Quantity("forces_mae_eV_per_A", 1.0, "eV/Å")
FORCES_NORM = Quantity("forces_norm_eV_per_A", 1.0, "eV/Å")
STRESS = Quantity("stress_mae_eV_per_A3", GPA, "GPa")
STRESS_NORM = Quantity("stress_norm_eV_per_A3", GPA, "GPa")


@dataclass(frozen=True)
class SetFile:
    """A file of labelled structures.

    Attributes:
        file: below the data folder.
        head: which answers.
        published: method to energy/forces (/stress), as the README of the set has it.
    """

    file: str
    head: str
    published: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Test files that are reported alike.

    Attributes:
        title: for people.
        quantities: energy, forces and, where there is one, stress.
        files: of it.
        note: what has to be said beside the published numbers.
    """

    title: str
    quantities: tuple[Quantity, ...]
    files: tuple[SetFile, ...]
    note: str = ""


RMD17 = ("MACE", "NequIP", "PaiNN", "ACE", "GAP", "MACE, 50 train")
MOLECULES = {
    "aspirin": ("2.2/6.6", "2.3/8.2", "6.9/16.1", "6.1/17.9", "17.7/44.9", "17.0/43.9"),
    "azobenzene": ("1.2/3.0", "0.7/2.9", "–", "3.6/10.9", "8.5/24.5", "5.4/17.7"),
    "benzene": ("0.4/0.3", "0.04/0.3", "–", "0.04/0.5", "0.75/6.0", "0.7/2.7"),
    "ethanol": ("0.4/2.1", "0.4/2.8", "2.7/10.0", "1.2/7.3", "3.5/18.1", "6.7/32.6"),
    "malonaldehyde": ("0.8/4.1", "0.8/5.1", "3.9/13.8", "1.7/11.1", "4.8/26.4", "10.0/43.3"),
    "naphthalene": ("0.5/1.6", "0.9/1.3", "5.1/3.6", "0.9/5.1", "3.8/16.5", "2.1/9.2"),
    "paracetamol": ("1.3/4.8", "1.4/5.9", "–", "4.0/12.7", "8.5/28.9", "9.7/31.5"),
    "salicylic": ("0.9/3.1", "0.7/4.0", "4.9/9.1", "1.8/9.3", "5.6/24.7", "6.5/28.4"),
    "toluene": ("0.5/1.5", "0.3/1.6", "4.2/4.4", "1.1/6.5", "4.0/17.8", "3.1/12.1"),
    "uracil": ("0.5/2.1", "0.4/3.1", "4.5/6.1", "1.1/6.6", "3.0/17.6", "4.4/25.9"),
}
"""The ten molecules of rmd17 with MAE in meV / meV/Å by the methods `RMD17`."""

MLEARN = ("GAP", "MTP", "NNP", "SNAP", "qSNAP")
ELEMENTS = {
    "Cu": ("0.46/0.01", "0.41/0.007", "1.15/0.026", "0.53/0.037", "0.56/0.024"),
    "Li": ("0.49/0.01", "0.49/0.010", "0.75/0.017", "1.03/0.028", "0.73/0.033"),
    "Mo": ("2.24/0.09", "2.94/0.090", "3.65/0.125", "5.48/0.207", "2.77/0.184"),
    "Si": ("2.91/0.07", "2.31/0.056", "5.63/0.109", "6.44/0.133", "3.81/0.116"),
    "Ge": ("2.06/0.05", "1.79/0.047", "4.89/0.085", "6.59/0.188", "6.45/0.133"),
}
MATTERSIM = ("MatterSim-v1 1M", "MatterSim-v1 5M")
CRYSTALS = {
    "mptrj_1k": ("0.030/0.149/0.241", "0.024/0.109/0.186"),
    "mpf_tp": ("0.029/0.418/1.159", "0.026/0.364/1.144"),
    "alexandria_1k": ("0.058/0.086/0.761", "0.016/0.042/0.205"),
    "random_tp": ("0.208/0.933/2.065", "0.199/0.824/1.999"),
}
ACAC = ("BOTNet", "NequIP", "MACE")


def _of(methods: tuple[str, ...], values: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(methods, values, strict=True))


def _acac(name: str, *values: str) -> SetFile:
    return SetFile(f"acac/test_{name}.extxyz.gz", "pbe_d3_def2svp", _of(ACAC, values) if values else {})


GROUPS = {
    "rmd17": Group(
        "Molecules at 500 K: rMD17, PBE/def2-SVP. MAE of the energy of a molecule, meV / force component, meV/Å",
        (TOTAL, FORCES),
        tuple(
            SetFile(f"rmd17/{name}_test.extxyz.gz", "pbe_def2svp", _of(RMD17, values))
            for name, values in MOLECULES.items()
        ),
        "Published: a model for each molecule, 950 + 50 frames of the same split, about 1,000 epochs on a GPU.",
    ),
    "mlearn": Group(
        "Elements: mlearn, PBE. MAE of the energy, meV/atom / force component, eV/Å",
        (PER_ATOM, FORCES_EV),
        tuple(
            SetFile(f"mlearn/{name}_test.extxyz.gz", "pbe_metals", _of(MLEARN, values))
            for name, values in ELEMENTS.items()
        ),
        "Published: a model for each element, the same split.",
    ),
    "crystals": Group(
        "Crystals of many elements. MAE of the energy, eV/atom / mean norm of the error of the force on an atom, eV/Å /"
        " mean Frobenius norm of the error of the stress, GPa",
        (PER_ATOM_EV, FORCES_NORM, STRESS_NORM),
        tuple(SetFile(f"{name}/test.extxyz.gz", "pbe_mp", _of(MATTERSIM, values)) for name, values in CRYSTALS.items()),
        "Published: on the whole sets, of which these are a tenth, by models trained on millions of structures; this"
        " one has seen 2,000. Structures of `alexandria_1k` are relaxed: forces of zero are hard to beat."
        " `random_tp` (16 atoms of random elements, to 1,000 GPa) is out of"
        " distribution: no frame of it was trained on.",
    ),
    "acac": Group(
        "Acetylacetone, PBE-D3/def2-SVP. RMSE of the energy of a molecule, meV / force component, meV/Å",
        (TOTAL_RMSE, FORCES_RMSE),
        (
            _acac("300K", "0.89/6.3", "0.81/5.90", "0.9/5.1"),
            _acac("600K", "6.2/29.8", "6.04/27.8", "4.6/22.4"),
            _acac("dihedral"),
            _acac("H_transfer"),
        ),
        "Trained on 300 K alone, as the published: 600 K, the turn of a dihedral angle and the transfer of a proton"
        " (energies only) are extrapolations.",
    ),
    "others": Group(
        "Sets without published errors for these splits. MAE of the energy, meV/atom / force component, meV/Å / stress"
        " component, GPa",
        (PER_ATOM, FORCES, STRESS),
        (
            SetFile("nbmotaw/test.extxyz.gz", "pbe_metals"),
            *(
                SetFile(f"md17_original/{name}_test.extxyz.gz", "pbe_ts")
                for name in ("aspirin", "ethanol", "malonaldehyde", "toluene")
            ),
            SetFile("ethanol_methanol/test_methanol.extxyz.gz", "pbe_def2svp"),
            SetFile("s66x8/test.extxyz.gz", "wb97x_631gd"),
            SetFile("ethanol_ccsdt/test.extxyz.gz", "ccsdt_ccpvtz"),
            SetFile("carbon_lda/test.extxyz.gz", "lda"),
        ),
    ),
}
