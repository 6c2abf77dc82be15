"""How far apart the sites of two crystals are: the fingerprint distance d of the MatCalc benchmark.

Each site has the likelihoods of its coordination numbers (CrystalNN) and, times these, the order parameters of the
motifs of that number: N. E. R. Zimmermann and A. Jain, RSC Adv. 10, 6063 (2020). A crystal is the mean, standard
deviation, least and largest value of each over its sites. Neighbours and order parameters are pymatgen's; what is added
here is what matminer's ``SiteStatsFingerprint(CrystalNNFingerprint.from_preset("ops", distance_cutoffs=None,
x_diff_weight=0), stats=("mean", "std_dev", "minimum", "maximum"))`` adds to them, and is the same number for number.
matminer itself needs an older pandas than the one that pymatgen installs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

MOTIFS: dict[int, tuple[str, ...]] = {
    1: ("sgl_bd",),
    2: ("L-shaped", "water-like", "bent 120 degrees", "bent 150 degrees", "linear"),
    3: ("trigonal planar", "trigonal non-coplanar", "T-shaped"),
    4: ("square co-planar", "tetrahedral", "rectangular see-saw-like", "see-saw-like", "trigonal pyramidal"),
    5: ("pentagonal planar", "square pyramidal", "trigonal bipyramidal"),
    6: ("hexagonal planar", "octahedral", "pentagonal pyramidal"),
    7: ("hexagonal pyramidal", "pentagonal bipyramidal"),
    8: ("body-centered cubic", "hexagonal bipyramidal"),
    9: ("q2", "q4", "q6"),
    10: ("q2", "q4", "q6"),
    11: ("q2", "q4", "q6"),
    12: ("cuboctahedral", "q2", "q4", "q6"),
}
"""Order parameters by coordination number."""

LARGEST = 24
"""Coordination number; those above 12 have a likelihood and no motifs."""


def distance(one: Atoms, other: Atoms) -> float:
    """The Euclidean distance of two fingerprints."""
    return float(np.linalg.norm(fingerprint(one) - fingerprint(other)))


def fingerprint(atoms: Atoms) -> NDArray[np.float64]:
    """[4 F]: of each of the F features of sites the mean, standard deviation, least and largest value."""
    from pymatgen.analysis.local_env import CrystalNN
    from pymatgen.io.ase import AseAtomsAdaptor

    structure = AseAtomsAdaptor.get_structure(atoms)
    neighbours = CrystalNN(distance_cutoffs=None, x_diff_weight=0)
    sites_SF = np.array([_site(structure, neighbours, site) for site in range(len(structure))])
    return np.stack([sites_SF.mean(0), sites_SF.std(0), sites_SF.min(0), sites_SF.max(0)], axis=1).ravel()


def _site(structure: Any, neighbours: Any, site: int) -> list[float]:
    """[F] likelihoods of coordination numbers, each followed by its order parameters times it."""
    data = neighbours.get_nn_data(structure, site)
    features: list[float] = []
    for number in range(1, LARGEST + 1):
        weight = float(data.cn_weights.get(number, 0))
        motifs = MOTIFS.get(number, ())
        features.append(weight)
        if weight == 0:
            features += [0.0] * len(motifs)
            continue
        around = [structure[site], *(near["site"] for near in data.cn_nninfo[number])]
        indices = list(range(1, len(around)))
        for parameter in _parameters(number):
            value = parameter.get_order_parameters(around, 0, indices_neighs=indices)[0]
            features.append(weight * (value or 0.0))
    return features


@lru_cache(maxsize=LARGEST)
def _parameters(number: int) -> list[Any]:
    """pymatgen's order parameters of a coordination number."""
    from pymatgen.analysis.local_env import CN_OPT_PARAMS, LocalStructOrderParams

    made = []
    for motif in MOTIFS.get(number, ()):
        kind, *rest = CN_OPT_PARAMS.get(number, {}).get(motif, [motif])
        made.append(LocalStructOrderParams([kind], parameters=[rest[0] if rest else None]))
    return made
