"""`fit_calibration`: from errors on held-back structures to the record that stands in a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from potentials.calibration import COVERAGE, HeadCalibration
from train.calibration.conformal import LEVELS, fit_quantity, needed
from train.calibration.samples import Samples


def levels_with(coverage: Sequence[float] = ()) -> tuple[float, ...]:
    """The usual coverages and more of them, ascending.

    Raises:
        ValueError: one is not between 0 and 1.
    """
    for level in coverage:
        if not 0 < level < 1:
            raise ValueError(f"coverage {level:g} is not between 0 and 1; 0.9 is 90 %")
    return tuple(sorted({*LEVELS, *coverage}))


def fit_calibration(
    samples: Samples, *, coverage: Sequence[float] = (), fingerprint: str = "", seed: int = 0
) -> HeadCalibration:
    """The calibration of a head.

    Args:
        samples: errors and raw uncertainties of structures that nothing was learnt from and nothing chosen by.
        coverage: levels beside `LEVELS`; those named here must be reached, and the one that calculators give.
        fingerprint: SHA-256 of the structures.
        seed: of the choice of structures for the floor.

    Raises:
        ValueError: no labels, too few structures, uncertainties that are all zero or not finite.
    """
    levels = levels_with(coverage)
    if not samples:
        raise ValueError(
            "none of the structures has a label of a quantity with an uncertainty: nothing to calibrate by"
        )
    quantities = {}
    for name, sample in samples.items():
        try:
            quantities[name] = fit_quantity(sample, levels, seed=seed)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        for level in (*coverage, COVERAGE):
            if f"{level:g}" not in quantities[name].factors:
                raise ValueError(
                    f"{name}: a coverage of {level:g} takes {needed(level)} structures beside those for the floor, of"
                    f" {sample.structures} in all; calibrate on more"
                )
    return HeadCalibration(quantities=quantities, fingerprint=fingerprint)
