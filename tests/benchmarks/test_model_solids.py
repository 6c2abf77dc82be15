"""Solids in use: derivations against closed forms, EMT and Lennard-Jones; frames of mlearn against their README."""

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc100, fcc110, fcc111
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.calculators.tersoff import Tersoff, TersoffParameters
from scipy.spatial import ConvexHull
from scipy.stats import kendalltau

from benchmarks.in_use import beta_tin, elements, mlearn_dft, polymorphs
from benchmarks.in_use.solids_tables import markdown
from md_workflows import engine_for

REAL = os.environ.get("GFM_ASE_DATA", "")
needs_data = pytest.mark.skipif(not REAL, reason="GFM_ASE_DATA names no folder of data sets")

A0, C11, C12, C44, E0 = 3.6, 170 * units.GPa, 120 * units.GPa, 80 * units.GPa, -4.1


def strained(strain_6: list[float], edge: float = 3.58) -> Atoms:
    """Two cubic cells in a row whose energy and stress follow linear elasticity about A0 exactly.

    Strains are Green and Lagrange's about cells of `edge`, engineering, in Voigt order.
    """
    xx, yy, zz, yz, xz, xy = strain_6
    green = np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
    deformation = np.linalg.cholesky(2 * green + np.eye(3)) @ np.diag([edge / A0] * 3)  # rows; now about A0
    atoms = bulk("Cu", a=A0, cubic=True) * (2, 1, 1)
    atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    about = (deformation @ deformation.T - np.eye(3)) / 2
    normal, sheared = np.diag(about), about - np.diag(np.diag(about))
    second = np.diag((C11 - C12) * normal + C12 * normal.sum()) + 2 * C44 * sheared
    energy = 8 * E0 + 2 * A0**3 * 0.5 * float((second * about).sum())
    stress = deformation.T @ second @ deformation / np.linalg.det(deformation)
    voigt = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    atoms.calc = SinglePointCalculator(atoms, energy=energy, stress=voigt)
    return atoms


def test_a_crystal_that_is_linear_is_found_exactly() -> None:
    strains = [sign * size * np.eye(6)[i] for i in range(6) for size in (0.01, 0.02) for sign in (-1, 1)]
    found = mlearn_dft.crystal_by_dft([strained(list(strain)) for strain in strains], "fcc")
    assert found.a0 == pytest.approx(A0, rel=1e-6)
    assert np.array([found.C11, found.C12, found.C44]) == pytest.approx([170, 120, 80], rel=1e-4)
    assert found.energy == pytest.approx(E0, abs=1e-7)
    assert found.bulk_modulus == pytest.approx((170 + 240) / 3, rel=1e-4)
    assert found.energy_spread < 1e-7


def test_shears_that_are_not_linear_give_no_c44() -> None:
    frames = [strained(list(sign * 0.02 * np.eye(6)[i])) for i in range(6) for sign in (-1, 1)]
    for number, atoms in enumerate(frames[6:]):
        atoms.calc.results["stress"][3:] *= (-1) ** (number // 2)
    assert mlearn_dft.crystal_by_dft(frames, "fcc").C44 is None


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="2 of 2 frames are strained by less than"):
        mlearn_dft.crystal_by_dft([strained([0.0] * 6), strained([0.01, 0, 0, 0, 0, 0])], "fcc")


@pytest.mark.parametrize(("facet", "cut"), [("100", fcc100), ("110", fcc110), ("111", fcc111)])
def test_facets_are_told_by_their_cells(facet: str, cut: object) -> None:
    slab = cut("Cu", (1, 1, 5), a=3.62, vacuum=8)  # type: ignore[operator]
    assert mlearn_dft.facet_of(slab, "fcc", 3.61) == facet
    assert mlearn_dft.facet_of(slab * (2, 1, 1), "fcc", 3.61) == facet + " 2×1"
    assert mlearn_dft.facet_of(slab * (1, 3, 1), "fcc", 3.61) == ""
    assert mlearn_dft.facet_of(slab, "fcc", 3.4) == ""


def test_emt_copper_is_what_ase_says() -> None:
    found = elements.elements_by_model({"Cu": 3.7}, engine_for(EMT()))["Cu"]
    assert found["errors"] == []
    assert found["a0"] == pytest.approx(3.59, abs=0.005)  # the lattice constant EMT was fitted to
    assert found["B"] == pytest.approx((found["C11"] + 2 * found["C12"]) / 3, rel=0.02)
    cell = bulk("Cu", a=found["a0"])
    cell.calc = EMT()
    assert found["energy"] == pytest.approx(cell.get_potential_energy(), abs=1e-6)
    slab = fcc111("Cu", (1, 1, 7), a=found["a0"], vacuum=10)
    slab.calc = EMT()
    stiff = mlearn_dft.surface_energy(slab.get_potential_energy(), slab, found["energy"])
    assert found["surfaces"]["111"] == pytest.approx(stiff, rel=0.05)
    assert found["surfaces"]["111"] <= stiff < found["surfaces"]["100"]


def test_the_hot_frames_of_the_model_itself_say_what_it_says() -> None:
    engine = engine_for(EMT())
    crystal = bulk("Cu", a=3.59, cubic=True) * (2, 2, 2)
    frames = []
    for seed in range(4):
        atoms = crystal.copy()
        del atoms[0]
        atoms.rattle(0.05, seed=seed)
        calculator = EMT()
        calculator.calculate(atoms, ["energy"])
        atoms.calc = SinglePointCalculator(atoms, energy=calculator.results["energy"] + 0.2)
        frames.append(atoms)
    unit = bulk("Cu", a=3.59)
    unit.calc = EMT()
    energy = unit.get_potential_energy()
    dft = mlearn_dft.Crystal(3.59, energy, 0, 0, None, 4, 0, 0)
    found = elements.compare_vacancies(frames, dft, {"vacancy": 1.0, "energy": energy}, engine)
    assert found is not None
    assert found["bias"] == pytest.approx(-0.2)
    assert found["dft_estimate"] == pytest.approx(1.2)


def test_facets_of_the_column() -> None:
    assert elements.facet_energies("(1 0 0) 1.4000; (1 1 1) -0.1") == {"100": 1.4, "111": -0.1}
    assert elements.facet_energies("") == {}


def test_beta_tin_is_diamond_at_root_two() -> None:
    distances = []
    for atoms in (beta_tin.beta_tin("Si", 20.0, np.sqrt(2)), bulk("Si", "diamond", a=160 ** (1 / 3))):
        assert atoms.get_volume() == pytest.approx(40.0)
        far = (atoms * (3, 3, 3)).get_all_distances(mic=True)[0]
        distances.append(np.sort(far)[:17])
    assert distances[0] == pytest.approx(distances[1])


def test_beta_tin_has_six_neighbours() -> None:
    atoms = beta_tin.beta_tin("Si", 15.0, 0.55) * (4, 4, 4)
    near = np.sort(atoms.get_all_distances(mic=True)[0])[1:]
    assert near[5] < 1.1 * near[0] < near[6]


def phase(energy: float, volume: float, modulus: float = 0.6) -> beta_tin.Phase:
    return beta_tin.Phase(energy, modulus, 4.2, volume)


def test_the_wider_phase_comes_under_tension_where_the_denser_is_lower() -> None:
    assert beta_tin.transition(phase(0.1, 20.4), phase(0.0, 15.3)) < 0


def test_the_transition_is_the_tangent_of_the_convex_hull() -> None:
    low, high = phase(0.0, 20.4, 0.55), phase(0.29, 15.3, 0.7)
    points = [(v, float(one.energies(v))) for one, spread in ((low, 4.0), (high, 3.0))
              for v in np.linspace(one.volume - spread, one.volume + 1, 4001)]  # fmt: skip
    hull = ConvexHull(points)
    edges = [sorted(points[i] for i in simplex) for simplex in hull.simplices]
    lower = [edge for edge, plane in zip(edges, hull.equations, strict=True) if plane[1] < 0]
    left, right = max(lower, key=lambda edge: edge[1][0] - edge[0][0])
    slope = (right[1] - left[1]) / (right[0] - left[0])
    assert beta_tin.transition(low, high) == pytest.approx(-slope, rel=1e-4)
    assert beta_tin.transition(high, low) == pytest.approx(-slope, rel=1e-4)


def test_phases_as_dense_as_each_other_have_no_transition() -> None:
    with pytest.raises(ValueError, match="no transition between -40 and 40 GPa"):
        beta_tin.transition(phase(0.0, 20.0), phase(0.3, 20.0))


def test_a_phase_is_fitted_and_its_pressure_is_the_slope() -> None:
    volumes = np.linspace(18, 22, 9)
    known = phase(-5.4, 20.3)
    found = beta_tin.fit(volumes, known.energies(volumes))
    assert np.array([*vars(found).values()]) == pytest.approx([*vars(known).values()], rel=1e-6)
    slope = (known.energies(18.001) - known.energies(17.999)) / 0.002
    assert known.pressure(18.0) == pytest.approx(-slope, rel=1e-6)
    with pytest.raises(ValueError, match="no minimum"):
        beta_tin.fit(volumes[:4], known.energies(volumes[:4]))


TERSOFF_SI = TersoffParameters(
    m=3.0, gamma=1.0, lambda3=1.7322, c=1.0039e5, d=16.217, h=-0.59825, n=0.78734, beta=1.0999e-6, lambda2=1.7322,
    B=471.18, R=2.85, D=0.15, lambda1=2.4799, A=1830.8,
)  # fmt: skip
"""Si(C), J. Tersoff, Phys. Rev. B 38, 9902 (1988): diamond has 5.432 Å and -4.63 eV/atom."""


def test_silicon_by_tersoff_is_diamond_and_becomes_beta_tin_under_pressure() -> None:
    engine = engine_for(Tersoff({("Si", "Si", "Si"): TERSOFF_SI}), "tersoff")
    found = beta_tin.compare_phases("Si", 5.47, engine)
    assert found["error"] == ""
    assert found["diamond"]["volume"] == pytest.approx(5.432**3 / 8, rel=1e-3)
    assert found["diamond"]["fit"]["energy"] == pytest.approx(-4.63, abs=2e-3)
    assert 0.1 < found["difference_eV"] < 0.5
    assert 5 < found["pressure_GPa"] < 20
    assert 0.5 < found["beta_tin"]["ratio"] < 0.58


def test_what_has_no_beta_tin_is_said() -> None:
    lennard = LennardJones(sigma=2.2, epsilon=0.1, rc=6.0, smooth=True)
    found = beta_tin.compare_phases("Si", 5.47, engine_for(lennard))
    assert "minimum" in found["error"]
    assert "pressure_GPa" not in found


def test_order_is_kendalls() -> None:
    random = np.random.default_rng(3)
    dft, model = random.normal(size=6).tolist(), random.normal(size=6).tolist()
    found = polymorphs.agreement(polymorphs.differences(dft, model))
    assert found["pairs"] == 15
    assert found["tau"] == pytest.approx(kendalltau(dft, model).statistic)
    assert found["agreeing"] == round(15 * (found["tau"] + 1) / 2)
    expected = [abs((model[j] - model[i]) - (dft[j] - dft[i])) for i, j in combinations(range(6), 2)]
    assert found["mae"] == pytest.approx(1000 * np.mean(expected))
    assert polymorphs.agreement(polymorphs.differences(dft, [None] * 6)) == {"pairs": 0}


def test_a_calculator_agrees_with_its_own_labels_and_tables_say_so() -> None:
    entries = []
    made = {"fcc": bulk("Cu", a=3.6), "bcc": bulk("Cu", "bcc", a=2.8), "hcp": bulk("Cu", "hcp", a=2.55, c=4.16)}
    for name, atoms in made.items():
        atoms.calc = EMT()
        entries.append(polymorphs.Entry(name, atoms, atoms.get_potential_energy() / len(atoms)))
    ranking = polymorphs.Ranking("Cu by EMT", "mp", "its own", relaxed=True, groups={"Cu": entries})
    found = polymorphs.compare_ranking(ranking, engine_for(EMT()))
    assert found["still"]["agreeing"] == found["still"]["pairs"] == 3
    assert found["still"]["mae"] == pytest.approx(0, abs=1e-6)
    rows = {row["name"]: row for row in found["groups"]["Cu"]}
    assert min(row["dft"] for row in rows.values()) == 0
    assert all(row["still"] == pytest.approx(row["dft"], abs=1e-6) for row in rows.values())
    bcc, fcc = rows["bcc"], rows["fcc"]
    assert 0 < bcc["relaxed"] - fcc["relaxed"] < bcc["dft"] - fcc["dft"]  # bcc was strained more
    text = markdown({"heads": {}, "missing": [], "seconds": {}, "model": "EMT", "written": "now", "machine": "here",
                     "polymorphs": [found | {"head": "emt"}]})  # fmt: skip
    assert "| Cu by EMT | emt | as labelled | 1 | 3 of 3 | 1.00 | 0 |" in text


@needs_data
@pytest.mark.parametrize("element", mlearn_dft.STRUCTURES)
def test_frames_of_mlearn_say_what_their_readme_says(element: str) -> None:
    structure = mlearn_dft.STRUCTURES[element]
    found = mlearn_dft.crystal_by_dft(mlearn_dft.frames_of(Path(REAL), element, "Elastic"), structure)
    a0, *moduli = mlearn_dft.README[element]
    assert found.a0 == pytest.approx(a0, rel=0.003)
    for ours, said in zip((found.C11, found.C12, found.C44, found.bulk_modulus), moduli, strict=True):
        assert (ours is None) == (said is None)
        assert said is None or ours == pytest.approx(said, rel=0.05)


@needs_data
def test_surface_frames_of_copper_are_near_what_is_known() -> None:
    data = Path(REAL)
    crystal = mlearn_dft.crystal_by_dft(mlearn_dft.frames_of(data, "Cu", "Elastic"), "fcc")
    slabs = mlearn_dft.slabs_by_dft(mlearn_dft.frames_of(data, "Cu", "Surface"), "fcc", crystal)
    low = {slab.facet: slab.energy for slab in slabs if slab.facet}
    assert set(low) == {"100", "110"}
    assert 1.3 < low["100"] < low["110"] < 1.8


@needs_data
def test_sets_hold_the_polymorphs_that_are_compared() -> None:
    found = {ranking.name: ranking.groups for ranking in polymorphs.rankings(Path(REAL))}
    assert len(found["WBM"]) == 6
    order = [entry.name for entry in sorted(found["TiO2"]["O2Ti"], key=lambda entry: entry.energy)]
    assert order == ["anatase", "brookite", "rutile"]
    assert "Dy" not in found["MPtrj"]  # the same structure twice
    assert len(found["carbon"]["C"]) == 26


def test_missing_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has to name the folder that holds mlearn"):
        mlearn_dft.frames_of(tmp_path, "Cu", "Elastic")
    with pytest.raises(ValueError, match="has to name the folder of the data sets"):
        polymorphs.rankings(tmp_path)
