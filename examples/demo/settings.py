"""How much the demo does, and what it demands of itself."""

from dataclasses import dataclass

from examples.demo.datasets import Sizes


@dataclass(frozen=True)
class DemoSettings:
    """Lengths of the demo's steps.

    Attributes:
        sizes: frames of each split of each data set.
        epochs: of training.
        validate_every: epochs between validations.
        max_minutes: wall time after which training ends in any case, so that a slow machine ends too.
        md_steps: of each of the two simulations.
        metals: how many of `METALS` are relaxed; all pairs of them are screened.
        enforced: whether errors above the demanded ones make the demo fail.
    """

    sizes: Sizes
    epochs: int
    validate_every: int
    max_minutes: float
    md_steps: int
    metals: int
    enforced: bool


METALS = ("Cu", "Ag", "Au", "Ni", "Pd", "Pt", "Al")
FULL = DemoSettings(
    sizes=Sizes(), epochs=26, validate_every=2, max_minutes=2.5, md_steps=800, metals=len(METALS), enforced=True
)
QUICK = DemoSettings(
    sizes=Sizes(train=64, valid=8, test=24),
    epochs=2,
    validate_every=1,
    max_minutes=1.0,
    md_steps=40,
    metals=3,
    enforced=False,
)
