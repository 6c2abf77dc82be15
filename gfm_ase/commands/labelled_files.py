"""Labelled structures of files, for commands that compare a head with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.frame import Frame
    from train.labelled import Labelled


def read_labelled(
    potential: Any,
    settings: dict[str, Any],
    *,
    outputs: Sequence[Any] = (),
    progress: Callable[[str, int, int | None], None] | None = None,
    seen: Callable[[Frame], None] = lambda _: None,
) -> list[Labelled]:
    """The structures of files with their graphs and labels.

    Args:
        potential: of one head.
        settings: of a data set: `name` (the head), `train` (the files), keys.
        outputs: quantities beyond energy, forces and stress.
        progress: told what is done.
        seen: given each frame.

    Raises:
        ValueError: as `read_frames`; an element that the head has never seen.
    """
    from gfm_ase.heads import check_elements_known
    from train.config import DatasetConfig
    from train.data import label
    from train.reading import read_frames

    frames = read_frames(DatasetConfig.model_validate(settings), "train", outputs=outputs, progress=progress)
    for frame in frames:
        seen(frame)
        check_elements_known(frame.atoms, potential.references, settings["name"], frame.source)
    return [label(frame, potential.cutoff, outputs=outputs) for frame in frames]
