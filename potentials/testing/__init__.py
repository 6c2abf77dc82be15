"""The physics contract: what every potential must hold, as plain functions that raise AssertionError with the numbers.

check_contract(potential)                     # all of it

@pytest.mark.parametrize("name", CONTRACT)    # or one test each
def test_contract(name):
    CONTRACT[name](PotentialUnderTest.of(potential))
"""

from __future__ import annotations

from collections.abc import Callable

from potentials.potential import Potential
from potentials.testing import gradients, locality, membership, periodicity, symmetry
from potentials.testing.outputs import OUTPUT_CONTRACT
from potentials.testing.subject import TOLERANCES, PotentialUnderTest, Tolerances
from potentials.testing.uncertainty import UNCERTAINTY_CONTRACT

CONTRACT: dict[str, Callable[[PotentialUnderTest], None]] = {
    "translation": symmetry.translation,
    "rotation": symmetry.rotation,
    "reflection": symmetry.reflection,
    "permutation": symmetry.permutation,
    "conservation": symmetry.conservation,
    "supercell": periodicity.supercell,
    "lattice_moves": periodicity.lattice_moves,
    "wrapping": periodicity.wrapping,
    "mixed_periodicity": periodicity.mixed_periodicity,
    "open_directions": periodicity.open_directions,
    "neighbour_backends": periodicity.neighbour_backends,
    "dimer_at_the_cutoff": locality.dimer_at_the_cutoff,
    "crossing_the_cutoff": locality.crossing_the_cutoff,
    "isolated_atoms": locality.isolated_atoms,
    "every_neighbour_counts": locality.every_neighbour_counts,
    "batch_members": membership.batch_members,
    "branches": membership.branches,
    "elements": membership.elements,
    "references": membership.references,
    "charge_and_spin": membership.charge_and_spin,
    "forces": gradients.forces,
    "stress": gradients.stress,
    "symmetric_sites": gradients.symmetric_sites,
    "weight_gradients": gradients.weight_gradients,
}
"""Name to check."""


def check_contract(potential: Potential) -> None:
    """Run every check of `CONTRACT`, and of `OUTPUT_CONTRACT` where the potential has outputs.

    Where it has uncertainties of its own, `UNCERTAINTY_CONTRACT` too.

    Args:
        potential: of float32 or float64, trained or not, on any device; left unchanged.

    Raises:
        AssertionError: names every check that failed, with its numbers.
        ValueError: a dtype that the contract has no bounds for.
    """
    subject = PotentialUnderTest.of(potential)
    failures = []
    checks = {**CONTRACT, **({f"outputs: {n}": c for n, c in OUTPUT_CONTRACT.items()} if potential.outputs else {})}
    if potential.last_layer is not None:
        checks |= {f"uncertainties: {name}": check for name, check in UNCERTAINTY_CONTRACT.items()}
    for name, check in checks.items():
        try:
            check(subject)
        except AssertionError as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise AssertionError(f"{len(failures)} of {len(checks)} checks failed\n" + "\n".join(failures))


__all__ = [
    "CONTRACT",
    "OUTPUT_CONTRACT",
    "TOLERANCES",
    "UNCERTAINTY_CONTRACT",
    "PotentialUnderTest",
    "Tolerances",
    "check_contract",
]
