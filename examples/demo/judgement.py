"""What the potential has to reach, and whether it did: errors beside the predictors that need no network."""

from collections.abc import Mapping
from dataclasses import dataclass

from gfm_ase.commands.errors_table import GPA

UNITS = {
    "energy": ("eV_per_atom", "meV/atom", 1e3),
    "forces": ("eV_per_A", "meV/Å", 1e3),
    "stress": ("eV_per_A3", "GPa", GPA),
}
TRIVIAL = {"energy": "E0 alone", "forces": "zero force", "stress": "zero stress"}
LEAST_FACTORS = {
    "molecules_gfn2": {"energy": 5.0, "forces": 4.0},
    "metals_emt": {"energy": 5.0, "forces": 8.0, "stress": 4.0},
}
"""By how much the mean absolute error must lie below the trivial predictor's, on structures held back.

A potential that is trained to the end lies two to nine times better than this, one that a busy machine gave a third of
its epochs still a little better.
"""


@dataclass(frozen=True)
class Verdict:
    """One quantity of one data set, in `unit`, and whether it beats the trivial predictor by `least`.

    Attributes:
        dataset, quantity: what is judged.
        unit: of the numbers.
        mae, rmse: of the potential.
        trivial: mean absolute error of the predictor `TRIVIAL[quantity]`.
        least: factor by which `mae` must lie below `trivial`.
    """

    dataset: str
    quantity: str
    unit: str
    mae: float
    rmse: float
    trivial: float
    least: float

    @property
    def factor(self) -> float:
        """How many times smaller the error is than the trivial predictor's; 0 where it is no number."""
        return self.trivial / self.mae if self.mae > 0 else 0.0

    @property
    def passed(self) -> bool:
        """Whether the error is as small as demanded; an error that is no number is not."""
        return self.factor >= self.least


def judge(
    errors: Mapping[str, Mapping[str, float]], least: Mapping[str, Mapping[str, float]] | None = None
) -> list[Verdict]:
    """A verdict for every factor that is demanded.

    Args:
        errors: by data set, as `train.evaluation.Predictions.errors` gives them.
        least: factors by data set and quantity; `LEAST_FACTORS` if not given.

    Raises:
        ValueError: an error that is to be judged was not measured.
    """
    verdicts = []
    for dataset, factors in (LEAST_FACTORS if least is None else least).items():
        for quantity, factor in factors.items():
            key, unit, worth = UNITS[quantity]
            names = [f"{quantity}_mae_{key}", f"{quantity}_rmse_{key}", f"trivial_{quantity}_mae_{key}"]
            found = errors.get(dataset, {})
            missing = [name for name in names if name not in found]
            if missing:
                raise ValueError(f"{missing[0]} of {dataset} was not measured, so it cannot be judged; see errors.json")
            mae, rmse, trivial = (worth * found[name] for name in names)
            verdicts.append(Verdict(dataset, quantity, unit, mae, rmse, trivial, factor))
    return verdicts


def shortfalls(verdicts: list[Verdict]) -> list[str]:
    """A sentence for each error that is larger than demanded."""
    return [
        f"{verdict.dataset}: the {verdict.quantity} error {verdict.mae:.3g} {verdict.unit} is only"
        f" {verdict.factor:.1f} times below that of {TRIVIAL[verdict.quantity]} ({verdict.trivial:.3g});"
        f" at least {verdict.least:g} times is demanded"
        for verdict in verdicts
        if not verdict.passed
    ]
