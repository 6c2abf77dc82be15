"""Studies whose trials are simulated: a power law, a floor, and what the end of a cosine schedule brings."""

from __future__ import annotations

import numpy as np

from train.search.curves import Curve
from train.search.replay import curve_of

EPOCHS = 27
NOISE = 0.03


def study(seed: int, trials: int = 24, epochs: int = EPOCHS) -> list[Curve]:
    """Whole curves; how fast errors fall is alike within a study and differs between studies.

    Args:
        seed: of everything.
        trials: how many.
        epochs: of each.
    """
    random = np.random.default_rng(seed)
    fall = random.uniform(0.5, 1.5)
    epoch_T = np.arange(1, epochs + 1)
    rate_T = (1 + np.cos(np.pi * epoch_T / epochs)) / 2
    found = []
    for trial in range(trials):
        floor, early, late = np.exp(random.normal([4.0, 1.5, -0.5], [0.5, 0.7, 0.8]))
        power = fall * np.exp(random.normal(0, 0.2))
        error_T = floor * (1 + early * epoch_T**-power) * (1 + late * rate_T) * np.exp(random.normal(0, NOISE, epochs))
        rows = [(epoch, epoch, epoch, error) for epoch, error in zip(epoch_T, error_T, strict=True)]
        found.append(curve_of(trial, rows, epochs))
    return found
