"""`gfm1`: eight levels of theory on one EMBER backbone. Card: docs/model.md, recipe: recipes/foundation.toml."""

from __future__ import annotations

from potentials.models.shipped import DataSet, ShippedHead, ShippedModel

MATTERSIM = "H. Yang et al., arXiv:2405.04967 (2024)"
BOTNET = "I. Batatia et al., arXiv:2205.06643 (2022)"

HEADS = {
    "pbe_mp": ShippedHead(
        "PBE and PBE+U with the settings of the Materials Project",
        "crystals of most elements: first looks and relaxations; a thousand frames are little for so many compounds",
        ("MPtrj (1k)", "MPF-TP", "Alexandria (1k)"),
    ),
    "pbe_metals": ShippedHead(
        "PBE, plane waves of 520 eV",
        "Li, Cu, Mo, Si, Ge, Nb, Ta, W and alloys of Nb, Mo, Ta, W: elasticity, vacancies, surfaces, dynamics",
        ("mlearn", "NbMoTaW"),
    ),
    "pbe_def2svp": ShippedHead(
        "PBE/def2-SVP",
        "dynamics of ten small organic molecules and methanol, in the gas phase",
        ("rMD17", "ethanol and methanol"),
    ),
    "pbe_ts": ShippedHead(
        "PBE with van der Waals corrections of Tkatchenko and Scheffler",
        "aspirin, ethanol, malonaldehyde and toluene, in the gas phase; its labels are noisy",
        ("MD17",),
    ),
    "pbe_d3_def2svp": ShippedHead(
        "PBE-D3/def2-SVP, spin-unrestricted", "acetylacetone at 300 K, in the gas phase", ("acetylacetone",)
    ),
    "wb97x_631gd": ShippedHead(
        "ωB97X/6-31G(d)",
        "3BPA, and pairs of small organic molecules: what holds them together",
        ("3BPA", "S66x8"),
    ),
    "ccsdt_ccpvtz": ShippedHead("CCSD(T)/cc-pVTZ", "ethanol, in the gas phase", ("ethanol, CCSD(T)",)),
    "lda": ShippedHead("LDA, plane waves of 650 eV", "carbon: amorphous, liquid, surfaces, crystals", ("carbon",)),
}

DATA = (
    DataSet("MPtrj (1k)", f"B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023); {MATTERSIM}", "CC-BY-4.0, MIT"),
    DataSet("MPF-TP", MATTERSIM, "MIT"),
    DataSet("Alexandria (1k)", f"J. Schmidt et al., Adv. Mater. 35, 2210788 (2023); {MATTERSIM}", "CC-BY-4.0, MIT"),
    DataSet("mlearn", "Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020)", "BSD-3-Clause"),
    DataSet("NbMoTaW", "X.-G. Li et al., npj Comput. Mater. 6, 70 (2020)", "BSD-3-Clause"),
    DataSet(
        "rMD17", "A. S. Christensen, O. A. von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020)", "CC0-1.0"
    ),
    DataSet("ethanol and methanol", BOTNET, "MIT"),
    DataSet("MD17", "S. Chmiela et al., Sci. Adv. 3, e1603015 (2017)", "CC0-1.0"),
    DataSet("acetylacetone", BOTNET, "MIT"),
    DataSet("3BPA", "D. P. Kovács et al., J. Chem. Theory Comput. 17, 7696 (2021)", "MIT"),
    DataSet(
        "S66x8",
        "J. S. Smith et al., J. Chem. Phys. 148, 241733 (2018); J. Řezáč, K. E. Riley, P. Hobza,"
        " J. Chem. Theory Comput. 7, 2427 (2011)",
        "MIT",
    ),
    DataSet("ethanol, CCSD(T)", "S. Chmiela et al., Nat. Commun. 9, 3887 (2018)", "MIT"),
    DataSet("carbon", "V. L. Deringer, G. Csányi, Phys. Rev. B 95, 094203 (2017)", "MIT"),
)

GFM1 = ShippedModel(
    name="gfm1",
    about="one EMBER backbone, eight levels of theory, from crystals to CCSD(T)",
    heads=HEADS,
    data=DATA,
)
