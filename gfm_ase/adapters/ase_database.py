"""Rows of ASE's databases that say which checkpoint and head their energies are of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ase.db
from ase import Atoms
from safetensors import safe_open

from gfm_ase.calculator import GFMCalculator
from potentials.checkpoint import DIGEST, read_manifest
from potentials.models.registry import find_checkpoint


def checkpoint_keys(checkpoint: str | Path, head: str) -> dict[str, str]:
    """Key-value pairs of a row: the head, and the first 16 digits of the SHA-256 that stands in the checkpoint.

    Raises:
        CheckpointError: the file is not a whole, unchanged checkpoint.
    """
    read_manifest(checkpoint)  # whole and unchanged
    with safe_open(find_checkpoint(checkpoint), framework="pt") as file:
        digest = file.metadata()[DIGEST]
    return {"head": head, "checkpoint": f"sha256-{digest[:16]}"}  # ASE refuses text that could be a number


def store(
    database: str | Path,
    structures: Iterable[Atoms],
    checkpoint: str | Path,
    *,
    keys: dict[str, Any] | None = None,
    **settings: Any,
) -> list[int]:
    """Compute structures and append them, with what they are computed by; the numbers of their rows.

    Args:
        database: file (.db, .json) or URL that `ase.db.connect` takes.
        structures: stay as they are.
        checkpoint: file.
        keys: more key-value pairs of each row.
        settings: of `GFMCalculator`.

    Raises:
        ValueError: as `GFMCalculator`; nothing is written then.
    """
    calculator = GFMCalculator(checkpoint, **settings)
    pairs = {**(keys or {}), **checkpoint_keys(checkpoint, calculator.chosen_head())}
    rows = []
    with ase.db.connect(str(database)) as connection:
        for atoms in structures:
            work = atoms.copy()
            work.calc = calculator
            work.get_potential_energy()
            rows.append(int(connection.write(work, key_value_pairs=pairs)))
    return rows
