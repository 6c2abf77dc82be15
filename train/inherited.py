"""What a run file that fine-tunes need not say, for the checkpoint says it: the architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potentials.checkpoint import CheckpointError, read_manifest
from potentials.models.registry import MissingModelError
from potentials.potential import PotentialConfig
from train.config_paths import beginning


def inherit(data: dict[str, Any], base: Path) -> None:
    """Fill `[potential]` from the checkpoint of `[fine_tune]`, in place, where the run file leaves keys out.

    Backbone, width of heads, and whether charge and spin are seen. Outputs are not: which are learnt is the run's.

    Args:
        data: tables as they were read.
        base: where relative paths start.

    Raises:
        ValueError: there is no such checkpoint, or it is damaged.
    """
    tuning, table = data.get("fine_tune"), data.setdefault("potential", {})
    start = tuning.get("start_from") if isinstance(tuning, dict) else None
    if not isinstance(start, str) or not isinstance(table, dict):
        return  # none, or a mistake that is told with all others
    try:
        source = read_manifest(beginning(start, base)).potential
    except (CheckpointError, MissingModelError) as error:
        raise ValueError(f"fine_tune.start_from: {error}") from None
    own = source.backbone.model_dump(mode="json")
    given = table.setdefault("backbone", {})
    if isinstance(given, dict) and given.get("name", own["name"]) == own["name"]:
        table["backbone"] = {**own, **given}
    table.setdefault("head_width", source.head_width)
    table.setdefault("charge_and_spin", source.charge_and_spin)
    table.setdefault("repulsion", source.repulsion)


def check_alike(source: PotentialConfig, own: PotentialConfig, path: Path) -> None:
    """Raise ValueError where a potential cannot take the weights of a checkpoint, for it is another architecture."""
    was, now = source.backbone.model_dump(), own.backbone.model_dump()
    keys = sorted((was.keys() | now.keys()) - {"average_neighbours"})  # which random weights alone depend on
    pairs = [(f"backbone.{key}", was.get(key), now.get(key)) for key in ["name", *keys]]
    pairs.append(("head_width", source.head_width, own.head_width))
    theirs = {output.name: output.model_dump() for output in source.outputs}
    for output in own.outputs:
        dumped = output.model_dump()
        before = theirs.get(output.name, dumped)
        pairs += [(f"output.{output.name}.{key}", before[key], dumped[key]) for key in dumped]
    for key, there, here in pairs:
        if there != here:
            raise ValueError(
                f"fine_tune.start_from: {path} has potential.{key} = {there!r} and the run file {here!r}; they must"
                " be the same: leave the key out, or start with random weights"
            )
    if source.repulsion and not own.repulsion:
        raise ValueError(f"fine_tune.start_from: {path} has the repulsion of nuclei; set potential.repulsion = true")
    if source.charge_and_spin and not own.charge_and_spin:
        raise ValueError(f"fine_tune.start_from: {path} sees charge and spin; set potential.charge_and_spin = true")
