"""The doctor passes what is sound, and sees each fault by the check that is for it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from gfm_ase import GFMCalculator
from gfm_ase.doctor import Report, Verdict, examine
from gfm_ase.doctor.checks import CHECKS
from gfm_ase.doctor.derivatives import STEPS, slope
from gfm_ase.doctor.page import page_of
from gfm_ase.doctor.samples import boxed, completed, made_structures
from gfm_ase.doctor.smoothness import hunt
from gfm_ase.doctor.subject import Subject
from tests.gfm_ase import broken


@pytest.fixture(scope="module")
def copper() -> dict[str, Atoms]:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    return completed({"copper": atoms})


def failing(report: Report) -> set[str]:
    return {row.name for row in report.named(Verdict.FAIL)}


def test_a_sound_calculator_passes(copper: dict[str, Atoms]) -> None:
    report = examine(broken.Sound(), copper, quick=True)
    assert not report.named(Verdict.FAIL), report
    assert not report.named(Verdict.WARN), report
    assert report.verdict == Verdict.PASS
    assert report.sentence().startswith("Sound: ")
    assert {row.name for row in report.named(Verdict.SKIPPED)} == {"batch", "contract", "elements", "environments"}
    assert [row.name for row in report.rows] == list(CHECKS)


@pytest.mark.parametrize(
    ("kind", "seen", "follows"),
    [
        (broken.HardCutoff, {"dimer_scan", "path_scan"}, {"nve"}),
        (broken.Truncated, {"path_scan"}, {"nve"}),
        (broken.NotConservative, {"forces", "nve"}, set()),
        (broken.WrongStressSign, {"stress"}, set()),
        (broken.Remembers, {"state"}, set()),
        (broken.NotExtensive, {"supercell", "separated"}, set()),
        (broken.NoLoneAtoms, {"isolated_atoms"}, set()),
        (broken.Hole, {"dimers"}, set()),
        (broken.KnowsUpAndDown, {"rotation", "reflection"}, {"net_force"}),
        (broken.CountsAtoms, {"permutation", "supercell", "separated"}, set()),
        (broken.RefusesLoneAtoms, {"isolated_atoms"}, set()),
    ],
)
def test_each_fault_is_seen_by_its_check(
    copper: dict[str, Atoms], kind: type[broken.Sound], seen: set[str], follows: set[str]
) -> None:
    """`follows`: what such a fault may break as well, by the atoms that happen to cross."""
    report = examine(kind(), copper, quick=True, only=[name for name in CHECKS if name != "speed"])
    assert seen <= failing(report) <= seen | follows, report.sentence()
    assert report.verdict == Verdict.FAIL
    assert report.sentence().startswith("Do not use it as it is: ")


def test_random_answers_are_seen(copper: dict[str, Atoms]) -> None:
    report = examine(broken.Random(), copper, quick=True, only=["determinism", "noise"])
    assert failing(report) == {"determinism", "noise"}


def test_an_exception_is_a_row_with_its_reason(copper: dict[str, Atoms]) -> None:
    (row,) = examine(broken.RefusesLoneAtoms(), copper, only=["isolated_atoms"]).rows
    assert row.finding.detail == "the calculator raised RuntimeError: no neighbours in [here]"


def test_a_calculator_that_needs_a_cell_gets_one(copper: dict[str, Atoms]) -> None:
    checks = ["isolated_atoms", "dimer_scan", "separated"]
    report = examine(broken.NeedsCell(), copper, quick=True, only=checks)
    verdicts = {row.name: row.verdict for row in report.rows}
    assert verdicts == {"isolated_atoms": Verdict.WARN, "dimer_scan": Verdict.PASS, "separated": Verdict.PASS}
    assert "refuses structures without a cell (ValueError: a cell, please)" in report.rows[0].finding.detail
    molecules = {"three": Atoms("Cu3", positions=[[0, 0, 0], [2.5, 0, 0], [0.3, 2.6, 0.1]])}
    report = examine(broken.NeedsCell(), molecules, quick=True, only=["nve", "speed"])
    assert [row.verdict for row in report.rows] == [Verdict.PASS, Verdict.INFO], report


def test_dynamics_keep_the_energy_that_forces_are_of(copper: dict[str, Atoms]) -> None:
    report = examine(broken.Smeared(), copper, quick=True, only=["forces", "nve"])
    assert report.verdict == Verdict.PASS, report


def test_stress_is_not_passed_where_noise_hides_it(copper: dict[str, Atoms]) -> None:
    (row,) = examine(broken.NoisyWrongStress(), copper, quick=True, only=["stress"]).rows
    assert row.verdict == Verdict.WARN
    assert "noise of the energy hides differences below" in row.finding.detail


def test_emt_warns_for_its_cutoff_alone() -> None:
    """It ends where its Fermi function is 1e-4; the logarithm of a lone pair's density makes 1 meV of that."""
    report = examine(EMT(), elements=["Cu", "Al"], quick=True)
    assert not failing(report), report
    assert {row.name for row in report.named(Verdict.WARN)} == {"dimer_scan"}


def test_lennard_jones_with_and_without_smooth_cutoff() -> None:
    atoms = bulk("Ar", cubic=True, a=5.3)
    atoms.rattle(0.1, seed=1)
    parameters = {"sigma": 3.4, "epsilon": 0.0104, "rc": 8.0}
    checks = ["dimer_scan", "path_scan", "forces", "stress", "supercell", "net_force"]
    sharp = examine(LennardJones(**parameters), completed({"Ar": atoms}), quick=True, only=checks)
    assert {row.name for row in sharp.named(Verdict.WARN)} == {"dimer_scan", "path_scan"}
    (scan,) = [row for row in sharp.rows if row.name == "dimer_scan"]
    at_cutoff = 24 * 0.0104 / 3.4 * (2 * (3.4 / 8) ** 13 - (3.4 / 8) ** 7)
    assert scan.finding.value == pytest.approx(abs(at_cutoff), rel=1e-3)  # the force of the textbook, that ends there
    smooth = examine(LennardJones(**parameters, smooth=True), completed({"Ar": atoms}), quick=True, only=checks)
    assert smooth.verdict == Verdict.PASS, smooth


def test_a_checkpoint_passes_but_for_what_it_has_not_learnt(one_head: Path) -> None:
    """Weights at random know no repulsion, nor which steps are small; all that holds by construction does."""
    calculator = GFMCalculator(one_head)
    known = [row.name for row in examine(calculator, quick=True, only=["elements"]).rows]
    assert known == ["elements"]
    checks = [name for name in CHECKS if name not in {"dimers", "nve", "speed"}]
    report = examine(calculator, quick=True, only=checks)
    assert not failing(report), report
    assert {row.name for row in report.named(Verdict.SKIPPED)} == {"environments"}
    assert ("Known elements", "Al Cu") in report.facts


def test_structures_of_unknown_elements_are_refused_by_name(one_head: Path) -> None:
    calculator = GFMCalculator(one_head)
    structures = {"copper": bulk("Cu", cubic=True), "iron": bulk("Fe")}
    report = examine(calculator, structures, only=["elements", "translation"])
    assert failing(report) == {"elements"}
    assert "iron: it has Fe" in report.rows[-1].finding.detail
    with pytest.raises(ValueError, match=r"no structure is made of known elements alone \(iron: it has Fe\)"):
        examine(calculator, {"iron": bulk("Fe")})


@pytest.mark.parametrize("ours", [True, False])
def test_surroundings_outside_of_the_training_data_are_told(one_head: Path, ours: bool) -> None:
    training = []
    for seed in range(24):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.rattle(0.08, seed=seed)
        training.append(atoms)
    like, squeezed = training.pop(), bulk("Cu", cubic=True, a=3.2)
    calculator = GFMCalculator(one_head) if ours else EMT()
    inside, outside = (
        examine(calculator, {"it": atoms}, training=training, only=["environments"]).rows[0]
        for atoms in (like, squeezed)
    )
    assert inside.verdict == Verdict.PASS, inside
    assert outside.verdict == Verdict.WARN, outside
    assert len(outside.finding.data["outside"]) == 4
    assert min(each["score"] for each in outside.finding.data["outside"]) > 2


def test_slopes_and_their_errors() -> None:
    """Of a sine with a jump far from the middle and noise: the error that is told holds the true one."""
    random = np.random.default_rng(0)

    def energy(step: np.ndarray) -> np.ndarray:
        return np.sin(3 * step) + 0.3 * (step > 0.015) + 1e-9 * random.normal(size=step.shape)

    found = slope(np.array([energy(STEPS), energy(-STEPS)]), STEPS, 1e-9)
    assert abs(found.value - 3) < found.error < 1e-4


def test_noise_is_measured() -> None:
    subject = Subject(broken.Sound(), {"dimer": Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]])})
    quiet = subject.noise(subject.structures["dimer"])

    class Coarse(broken.Sound):
        def break_it(self) -> None:
            self.results["energy"] = float(np.float32(self.results["energy"]))

    loud = Subject(Coarse(), subject.structures).noise(subject.structures["dimer"])
    assert quiet.energy < 1e-14
    assert 1e-9 < loud.energy < 1e-7  # float32 of 0.6 eV is spaced by 6e-8 eV: a twelfth of its square, or less


def test_a_jump_is_told_from_a_steep_place() -> None:
    places = np.linspace(1, 3, 81)

    def at(steep: float, jump: float):
        def values(x) -> np.ndarray:
            x = np.asarray(x)
            return np.stack([np.tanh(steep * (x - 2.0137)) + jump * (x > 2.5301), np.zeros_like(x)], axis=1)

        return values

    assert hunt(at(50, 0), places, at(50, 0)(places), (1e-15, 1e-15)).verdict == Verdict.PASS
    found = hunt(at(5, 0.01), places, at(5, 0.01)(places), (1e-15, 1e-15))
    assert found.verdict == Verdict.FAIL
    assert found.energy == pytest.approx(0.01, rel=1e-3)
    assert found.energy_at == pytest.approx(2.5301, abs=1e-5)


def test_structures_are_made_of_elements() -> None:
    metals, organic = made_structures(["Al", "Cu"]), made_structures(["H", "O"])
    assert any(not atoms.pbc.any() for atoms in metals.values())
    assert any(atoms.pbc.all() for atoms in organic.values())
    assert any(len(set(atoms.numbers)) == 2 for atoms in metals.values())
    assert np.abs(np.linalg.det(boxed(molecule("H2O")).cell.array)) > 0
    with pytest.raises(ValueError, match="does not tell which elements it knows; give structures"):
        examine(broken.Sound())
    with pytest.raises(ValueError, match="there is no check flight; there are determinism"):
        examine(EMT(), only=["flight"])
    with pytest.raises(ValueError, match="there are no structures"):
        examine(EMT(), [])


def test_json_and_page_hold_all_and_escape_names() -> None:
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]])
    report = examine(broken.NoLoneAtoms(), {"<script>alert(1)</script> $x^2$": atoms}, quick=True)
    told = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert [check["name"] for check in told["checks"]] == list(CHECKS)
    assert told["verdict"] == "fail"
    lone = next(check for check in told["checks"] if check["name"] == "isolated_atoms")
    assert lone["value"] is None  # it was no number
    page = page_of(report)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    for check in CHECKS.values():
        assert check.title in page
    assert page.count("data:image/svg+xml") == 3
    assert math.isfinite(report.seconds)
