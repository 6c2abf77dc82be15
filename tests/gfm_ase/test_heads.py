"""Which head answers where none is named, what users are told where that is not clear, and copies before it is."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from gfm_ase import GFMCalculator, load
from gfm_ase.adapters.batches import BatchedCalculator
from md_workflows import MDSettings, run_md_many
from potentials.checkpoint import read_manifest
from tests.gfm_ase.boxes import write

ELEMENTS = {"metals": "Al Cu", "oxides": "O Cu H", "molecules": "H C O", "exact": "H O"}
REPEATING: dict[str, dict[int, int]] = {
    "metals": {3: 8, 2: 1}, "oxides": {3: 5}, "molecules": {0: 9}, "exact": {0: 4}
}  # fmt: skip


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("heads") / "several.safetensors", ELEMENTS, REPEATING)


def cupric_oxide() -> Atoms:
    return bulk("CuO", "rocksalt", a=4.2)


@pytest.mark.parametrize(
    ("atoms", "head"),
    [
        (bulk("Al"), "metals"),
        (cupric_oxide(), "oxides"),
        (molecule("CH3OH"), "molecules"),
        (fcc111("Al", (1, 1, 2), vacuum=5), "metals"),
    ],
)
def test_the_only_head_that_fits_answers(several: Path, atoms: Atoms, head: str) -> None:
    calculator = GFMCalculator(several, device="cpu")
    assert calculator.head is None
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    assert calculator.head == head
    named = GFMCalculator(several, head=head, device="cpu")
    assert energy == named.get_property("energy", atoms)
    assert np.array_equal(atoms.get_forces(), named.get_property("forces", atoms))
    assert calculator.implemented_properties == named.implemented_properties


def test_several_that_fit_are_listed_and_the_way_to_choose(several: Path) -> None:
    water = molecule("H2O")
    water.calc = GFMCalculator(several)
    several_fit = r"2 heads .* fit H2O \(a molecule\); choose one by head="
    with pytest.raises(ValueError, match=several_fit) as error:
        water.get_potential_energy()
    told = str(error.value)
    assert "molecules (H C O, molecules); exact (H O, molecules)" in told
    assert "metals" not in told
    assert "\n" not in told
    with pytest.raises(ValueError, match=r"2 heads .* fit Cu \(which repeats\)"):
        GFMCalculator(several).get_property("forces", bulk("Cu"))


def test_where_none_fits_each_head_says_why(several: Path) -> None:
    with pytest.raises(ValueError, match=r"no head of this potential fits HCu \(a molecule\)") as error:
        GFMCalculator(several).get_property("energy", Atoms("CuH", [(0, 0, 0), (0, 0, 1.5)]))
    told = str(error.value)
    assert "metals has never seen H" in told
    assert "oxides was trained on structures that repeat alone" in told
    assert "molecules has never seen Cu" in told


def test_the_head_once_chosen_stays(several: Path) -> None:
    calculator = GFMCalculator(several, device="cpu")
    calculator.get_property("energy", bulk("Al"))
    with pytest.raises(ValueError, match="'metals', which its first structure has chosen and which has never"):
        calculator.get_property("energy", molecule("CH3OH"))
    alone = Atoms("Cu2", [(0, 0, 0), (0, 0, 2.2)])
    with pytest.raises(ValueError, match=r"which was trained on structures that repeat alone; make another calculator"):
        calculator.get_property("energy", alone)
    assert np.isfinite(calculator.get_property("energy", bulk("Cu")))
    assert calculator.head == "metals"
    named = GFMCalculator(several, head="metals", device="cpu")  # who names a head means it
    assert np.isfinite(named.get_property("energy", alone))


def test_an_element_never_seen_names_the_heads_that_know_it(several: Path) -> None:
    told = "head 'metals' has never seen H, O; it was trained on Al, Cu; all elements of the structure are known to the"
    with pytest.raises(ValueError, match=f"{told} heads oxides, molecules, exact"):
        GFMCalculator(several, head="metals").get_property("energy", molecule("H2O"))
    with pytest.raises(ValueError, match=r"has never seen Xe; .*; nor does another head know all elements"):
        GFMCalculator(several, head="metals").get_property("energy", Atoms("Xe"))


def test_copies_of_one_that_has_not_chosen(several: Path) -> None:
    calculator = GFMCalculator(several, device="cpu")
    twins = [copy.deepcopy(calculator), copy.copy(calculator), pickle.loads(pickle.dumps(calculator))]  # noqa: S301
    calculator.get_property("energy", bulk("Al"))
    for twin in twins:
        assert twin.head is None
        twin.get_property("energy", molecule("CH3OH"))
        assert twin.head == "molecules"
    assert calculator.head == "metals"
    again = pickle.loads(pickle.dumps(calculator))  # noqa: S301 - its own
    assert again.head == "metals"
    with pytest.raises(ValueError, match="its first structure has chosen"):
        again.get_property("energy", molecule("CH3OH"))


def test_batches_need_a_head_and_structures_can_choose_it(several: Path) -> None:
    calculator = GFMCalculator(several, device="cpu")
    for ask in (calculator.batch_model, calculator.evaluator, calculator.use_direct_forces, calculator.chosen_head):
        with pytest.raises(ValueError, match=r"4 heads and none is chosen yet; .* calculator\.choose_head"):
            ask()
    with pytest.raises(ValueError, match="none is chosen yet"):
        BatchedCalculator(calculator)
    with pytest.raises(ValueError, match="none is chosen yet"):
        calculator.use_coverage(0.9)
    with pytest.raises(ValueError, match="no head of this potential fits all of 2 structures"):
        calculator.choose_head([bulk("Al"), molecule("CH3OH")])
    structures = [bulk("Cu", cubic=True), bulk("Al", cubic=True)]
    assert calculator.choose_head(structures) == "metals"
    assert " head=metals " in calculator.batch_model().identity
    settings = MDSettings(ensemble={"name": "nve"}, steps=2, initial_temperature_K=100)
    outcomes = list(run_md_many(structures, settings, calculator=calculator))
    assert [one.steps for one in outcomes] == [2, 2]


def test_what_an_undecided_one_offers(several: Path, one_head: Path) -> None:
    """What one of its heads gives; relaxations and dynamics look before they begin."""
    offered = GFMCalculator(several).implemented_properties
    assert offered == GFMCalculator(one_head).implemented_properties
    assert GFMCalculator(several).uncertainties.names == ()


def test_checkpoints_that_do_not_say_want_a_name(tmp_path: Path) -> None:
    """As before: what is not known of periodicity is not guessed."""
    path = write(tmp_path / "old.safetensors", ELEMENTS, {**REPEATING, "oxides": {}})
    with pytest.raises(ValueError, match="this potential has 4 heads; choose one: metals, oxides, molecules, exact"):
        GFMCalculator(path)
    assert GFMCalculator(path, head="exact").head == "exact"
    assert "repeating" not in read_manifest(path).heads["oxides"].model_dump()


def test_one_loaded_serves_both(several: Path) -> None:
    loaded = load(several, device="cpu")
    first, second = GFMCalculator(loaded), GFMCalculator(loaded)
    first.get_property("energy", bulk("Al"))
    second.get_property("energy", molecule("CH3OH"))
    assert (first.head, second.head) == ("metals", "molecules")
    assert loaded.potential.heads == tuple(ELEMENTS)
