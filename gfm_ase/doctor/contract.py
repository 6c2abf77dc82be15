"""The parts of the physics contract that cannot be seen from outside, for checkpoints of ours."""

from __future__ import annotations

import copy

from gfm_ase.doctor.findings import Finding, Skipped, Verdict
from gfm_ase.doctor.subject import Subject, own_potential

INSIDE = (
    "mixed_periodicity",
    "open_directions",
    "wrapping",
    "neighbour_backends",
    "every_neighbour_counts",
    "crossing_the_cutoff",
    "symmetric_sites",
    "elements",
)
"""Names in `potentials.testing.CONTRACT`."""


def contract(subject: Subject) -> Finding:
    """The contract's own checks on a copy of the potential, with elements and references of theirs."""
    potential = own_potential(subject.calculator)
    if potential is None:
        raise Skipped("it looks inside a potential of gfm-ase, which this is not")
    from potentials.ensemble import Ensemble
    from potentials.testing import CONTRACT, PotentialUnderTest

    if isinstance(potential, Ensemble):
        raise Skipped("it looks inside a single potential; examine the members of this ensemble one by one")

    # the calculator's weights ask for no gradients; some of these checks do
    inside = PotentialUnderTest.of(copy.deepcopy(potential).requires_grad_(requires_grad=True))
    failures = []
    for name in INSIDE:
        try:
            CONTRACT[name](inside)
        except AssertionError as error:
            failures.append(f"{name}: {error}")
    verdict = Verdict.FAIL if failures else Verdict.PASS
    detail = "; ".join(failures) or f"all {len(INSIDE)} hold: {', '.join(INSIDE).replace('_', ' ')}"
    return Finding(verdict, detail, len(failures), 0, "", "bounds of potentials.testing, derived there")
