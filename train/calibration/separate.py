"""Structures that a calibration may be taken from: held back from training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from train.structures import Structures


def check_held_back(structures: Structures, training: Structures, fingerprints: Mapping[str, str]) -> list[str]:
    """Refuse structures that were learnt from; errors on them are too small.

    Args:
        structures: to calibrate by.
        training: that were learnt from, as far as they are given.
        fingerprints: SHA-256 of the splits that the head was trained with, by name.

    Returns:
        What a person should know, a sentence each.

    Raises:
        ValueError: no structures, the training split itself, or structures that are in `training` too.
    """
    if not len(structures):
        raise ValueError("the files hold no structures; nothing to calibrate by")
    same = [split for split, fingerprint in fingerprints.items() if fingerprint == structures.fingerprint()]
    if "train" in same:
        raise ValueError("these structures are the training split of this head; calibrate on others, held back from it")
    both = 0
    if len(training):
        known = {digest.tobytes() for digest in training.digests(np.arange(len(training)))}
        own = structures.digests(np.arange(len(structures)))
        both = sum(digest.tobytes() in known for digest in own)
    if both:
        raise ValueError(
            f"{both} of the {len(structures)} structures are among those trained on, whose errors are too small; leave"
            " them out"
        )
    if "valid" in same:
        return ["these structures chose the weights (validation split): errors on others may be larger"]
    return []
