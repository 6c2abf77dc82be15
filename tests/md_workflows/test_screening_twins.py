"""Duplicates: equal to the last digit, or the same crystal in another guise."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from md_workflows import ASEEngine, RelaxSettings, ScreenSettings, Status, screen
from md_workflows.screening import twins
from md_workflows.screening.twins import CrystalTwins, fingerprint, same_crystal

TOLERANCE = 0.02
EVALUATE = RelaxSettings(max_steps=0)


def alloy(seed: int, rattle: float = 0.1) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (1, 1, 2)
    atoms.symbols[:] = np.random.default_rng(seed).choice(["Cu", "Au"], 8)
    atoms.rattle(rattle, seed=seed)
    return atoms


def shaken(atoms: Atoms, most: float, seed: int) -> Atoms:
    """Each atom moved in any direction by at most `most` Å."""
    rng = np.random.default_rng(seed)
    ways = rng.normal(size=(len(atoms), 3))
    other = atoms.copy()
    other.positions += most * rng.random((len(atoms), 1)) * ways / np.linalg.norm(ways, axis=1)[:, None]
    return other


def disguised(atoms: Atoms, seed: int) -> Atoms:
    """Another cell (of twice the size, for odd seeds), origin, orientation and order."""
    rng = np.random.default_rng(seed)
    matrix = [[2, 1, 0], [0, 1, 0], [0, 0, 1]] if seed % 2 else [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    other = make_supercell(atoms, matrix)
    other.translate(rng.normal(size=3))
    other.wrap()
    other.rotate(rng.uniform(0, 90), rng.normal(size=3), rotate_cell=True)
    return other[rng.permutation(len(other))]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rattle", [0.0, 0.1])
def test_a_crystal_is_known_in_any_guise(seed: int, rattle: float) -> None:
    """Moves below half of the tolerance: two atoms, of which one is laid onto its counterpart, differ by below all."""
    atoms = alloy(seed, rattle)
    guise = disguised(shaken(atoms, TOLERANCE / 2, seed), seed)
    assert np.abs(fingerprint(atoms) - fingerprint(guise)).max() < 2 * TOLERANCE
    assert same_crystal(atoms, guise, TOLERANCE)


@pytest.mark.parametrize("seed", range(4))
def test_another_crystal_is_none(seed: int) -> None:
    """One atom of eight moved by four times the tolerance: the best fit leaves it by twice the tolerance or more."""
    atoms = alloy(seed)
    other = atoms.copy()
    other.positions[3] += [0, 4 * TOLERANCE, 0]
    assert not same_crystal(atoms, disguised(other, seed), TOLERANCE)
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array * 1.02, scale_atoms=True)  # neighbours at 2.5 Å and more move by 0.05 Å
    assert np.abs(fingerprint(atoms) - fingerprint(strained)).max() > 2 * TOLERANCE


def test_a_fingerprint_against_brute_force() -> None:
    """CsCl: of B around A eight at the half diagonal, then 24; of A around A six at the edge, then 12, then 8."""
    atoms = bulk("CsCl", "cesiumchloride", a=4.0)
    found = fingerprint(atoms).reshape(2, 2, 12)  # neighbours of 17, then 55; around 17, then 55
    like, unlike = [4.0] * 6 + [4 * 2**0.5] * 6, [2 * 3**0.5] * 8 + [2 * 11**0.5] * 4
    assert found[0, 0] == pytest.approx(like, abs=1e-5)
    assert found[1, 1] == pytest.approx(like, abs=1e-5)
    assert found[0, 1] == pytest.approx(unlike, abs=1e-5)
    assert found[1, 0] == pytest.approx(unlike, abs=1e-5)


def test_many_candidates_and_old_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred of one composition, of which memory keeps three: each is found again."""
    monkeypatch.setattr(twins, "REMEMBERED", 3)
    base = bulk("Cu", cubic=True)
    crystals = {str(seed): base.copy() for seed in range(100)}
    for name, atoms in crystals.items():
        atoms.rattle(0.2, seed=int(name))
    asked: list[str] = []

    def start(name: str) -> Atoms:
        asked.append(name)
        return crystals[name]

    known = CrystalTwins(TOLERANCE, start)
    assert all(known.find(name, f"{int(name):02x}", atoms) == "" for name, atoms in crystals.items())
    for name in ("3", "50", "99"):
        assert known.find(f"{name}'", f"ff{int(name):02x}", disguised(crystals[name], 1)) == name
    assert asked[-2:] == ["3", "50"]


def test_what_cannot_be_compared_is_compared_to_the_last_digit() -> None:
    known = CrystalTwins(TOLERANCE, lambda _: None)
    fixed = bulk("Cu", cubic=True)
    fixed.set_constraint(FixAtoms([0]))
    slab = bulk("Cu", cubic=True)
    slab.pbc = (True, True, False)
    charged = bulk("Cu", cubic=True)
    charged.info["charge"] = 1.0
    for number, atoms in enumerate((bulk("Cu", cubic=True), fixed, slab, charged)):
        assert known.find(str(number), f"{number:02x}", atoms) == ""
    assert known.find("again", "02", slab) == "2"
    assert known.find("primitive", "ff", bulk("Cu")) == "0"


class Counting(EMT):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def calculate(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def] # ASE's signature
        self.calls += 1
        super().calculate(*args, **kwargs)


def engine(calculator: EMT) -> ASEEngine:
    return ASEEngine(calculator, identity="EMT")


def test_a_duplicate_names_the_first_and_takes_its_values(tmp_path: Path) -> None:
    calculator = Counting()
    items = [("a", alloy(1)), ("b", alloy(2)), ("twin of a", alloy(1)), ("bad", bulk("Fe")), ("as bad", bulk("Fe"))]
    result = screen(items, tmp_path / "s", EVALUATE, engine=engine(calculator))
    assert calculator.calls == 2 + 1  # EMT is asked for iron, and refuses
    assert (result.count(Status.DUPLICATE), result.count(Status.FAILED)) == (2, 1)
    first, _, twin, _, as_bad = result.rows
    assert (twin.status, twin.duplicate_of, twin.energy, twin.fmax) == (Status.DUPLICATE, "a", first.energy, first.fmax)
    assert as_bad.error.startswith("it equals bad, which failed: NotImplementedError")
    again = screen(items, tmp_path / "s", EVALUATE, engine=engine(calculator))
    assert (again.resumed, calculator.calls, again.rows) == (5, 3, result.rows)
    # without the first one the twin stands for itself; with it in the second place, what is computed stays
    alone = screen(items[1:3], tmp_path / "s", EVALUATE, engine=engine(calculator))
    assert (calculator.calls, alone.rows[1].duplicate_of) == (4, "")
    assert alone.rows[1].energy == first.energy
    assert screen(items, tmp_path / "s", EVALUATE, engine=engine(calculator)).count(Status.DUPLICATE) == 1
    assert calculator.calls == 4


def test_crystals_within_a_tolerance(tmp_path: Path) -> None:
    calculator = Counting()
    items = [("a", alloy(1)), ("b", alloy(2)), ("a in disguise", disguised(shaken(alloy(1), 0.005, 3), 3))]
    settings = ScreenSettings(EVALUATE, duplicates=TOLERANCE)
    result = screen(items, tmp_path / "s", settings, engine=engine(calculator))
    assert (calculator.calls, [row.duplicate_of for row in result.rows]) == (2, ["", "", "a"])
    # the structures that are compared with are those that came in, also after they were relaxed
    later = [*items, ("b again", disguised(alloy(2), 4))]
    result = screen(later, tmp_path / "s", settings, engine=engine(calculator))
    assert (calculator.calls, result.rows[3].duplicate_of) == (2, "b")


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"duplicates within 0.0 Å cannot be asked for"):
        screen([], tmp_path / "s", ScreenSettings(duplicates=0.0), calculator=EMT())
    monkeypatch.setattr(twins, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"need spglib, pymatgen: pip install 'gfm-ase\[materials\]'"):
        screen([], tmp_path / "s", ScreenSettings(duplicates=0.1), calculator=EMT())
