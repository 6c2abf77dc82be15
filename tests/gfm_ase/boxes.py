"""A small potential with the heads of the model that comes with the package, in the place of its file."""

from pathlib import Path

import torch

from potentials.backbones.painn import PaiNNConfig
from potentials.checkpoint import save_checkpoint
from potentials.manifest import HeadRecord, describe
from potentials.models.gfm1 import GFM1
from potentials.potential import Potential, PotentialConfig

ELEMENTS = {
    "pbe_mp": "H C N O Si Cu",
    "pbe_metals": "Li Si Cu Mo",
    "pbe_def2svp": "H C N O",
    "pbe_ts": "H C O",
    "pbe_d3_def2svp": "H C O",
    "wb97x_631gd": "H C N O",
    "ccsdt_ccpvtz": "H C O",
    "lda": "C",
}
REPEATING = {"pbe_mp", "pbe_metals", "lda"}


def record(head: str, repeating: dict[int, int], outside: dict[str, float] | None = None) -> HeadRecord:
    """Of a head that has learnt energies and forces."""
    del head
    return HeadRecord(
        elements=(), e0={}, scale=1.0, shift=0.0, labels=("energy", "forces"), structures={"train": 10},
        repeating=repeating, outside=outside or {},
    )  # fmt: skip


def write(
    path: Path,
    elements: dict[str, str] | None = None,
    repeating: dict[str, dict[int, int]] | None = None,
    outside: dict[str, dict[str, float]] | None = None,
) -> Path:
    """A checkpoint; of the heads of `gfm1` unless others are given. With `outside` it knows its uncertainty."""
    elements = elements or ELEMENTS
    if repeating is None:
        repeating = {head: {3: 10} if head in REPEATING else {0: 10} for head in elements}
    backbone = PaiNNConfig(cutoff=4.0, width=8, depth=1, radial_size=6)
    settings = {"backbone": backbone, "heads": tuple(elements), "head_width": 8, "last_layer": outside is not None}
    made = Potential(PotentialConfig.model_validate(settings), seed=3)
    for head, symbols in elements.items():
        made.references.set_head(head, dict.fromkeys(symbols.split(), -1.0), scale=2.0)
        if made.last_layer is not None:
            eye, seen = torch.eye(8, dtype=torch.float64), symbols.split()
            made.last_layer.set_head(head, seen, (eye, 1.0), (eye, dict.fromkeys(seen, 0.5), 1.0))
    records = {head: record(head, repeating.get(head, {}), (outside or {}).get(head)) for head in elements}
    save_checkpoint(path, made, describe(made, [], made_with={"gfm-ase": "0.1.0"}, heads=records))
    return path


assert set(ELEMENTS) == set(GFM1.heads)
