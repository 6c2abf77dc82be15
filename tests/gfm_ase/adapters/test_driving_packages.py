"""matcalc and janus-core take the calculator as it is, and give its numbers; neither is an extra of gfm-ase."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gfm_ase import GFMCalculator
from md_workflows import RelaxSettings, relax

pytestmark = pytest.mark.filterwarnings("ignore")  # what these packages warn of is theirs


@pytest.fixture
def calculator(one_head: Path) -> GFMCalculator:
    return GFMCalculator(one_head, device="cpu", dtype="float64")


@pytest.fixture
def stretched() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def test_matcalc_relaxes(calculator: GFMCalculator, stretched: Atoms) -> None:
    matcalc: Any = pytest.importorskip("matcalc", reason="matcalc is not installed: pip install matcalc")
    found = matcalc.RelaxCalc(calculator, fmax=1e-3, relax_cell=True, max_steps=500).calc(stretched)
    own = relax(stretched, RelaxSettings(fmax=1e-3, cell={}, max_steps=500), calculator=calculator)
    assert own.converged
    assert abs(found["energy"] - own.energy) < 1e-3 * len(stretched)
    assert abs(found["volume"] / own.atoms.get_volume() - 1) < 0.01


def test_matcalc_strains(calculator: GFMCalculator) -> None:
    """An elastic constant of small strains, against the calculator's own stresses at these strains."""
    matcalc: Any = pytest.importorskip("matcalc", reason="matcalc is not installed: pip install matcalc")
    start = bulk("Cu", cubic=True)
    strains = (-0.002, 0.002)
    found = matcalc.ElasticityCalc(
        calculator, relax_structure=False, norm_strains=strains, shear_strains=strains, r2_min=-1
    ).calc(start)
    stresses = []
    for strain in strains:
        atoms = start.copy()
        atoms.set_cell(atoms.cell.array @ np.diag([np.sqrt(1 + 2 * strain), 1, 1]), scale_atoms=True)
        stresses.append(calculator.get_property("stress", atoms)[0])
    own = (stresses[1] - stresses[0]) / (strains[1] - strains[0])
    assert abs(found["elastic_tensor"].voigt[0, 0] - own) < 0.05 * abs(own)


def test_janus_computes_and_relaxes(
    calculator: GFMCalculator, stretched: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("janus_core", reason="janus-core is not installed: pip install janus-core")
    from janus_core.calculations.geom_opt import GeomOpt
    from janus_core.calculations.single_point import SinglePoint

    monkeypatch.chdir(tmp_path)
    atoms = stretched.copy()
    atoms.calc = calculator
    given = SinglePoint(struct=atoms, properties=("energy", "forces", "stress")).run()
    for name in ("energy", "forces", "stress"):
        assert np.allclose(given[name], calculator.get_property(name, stretched), rtol=0, atol=1e-12)
    optimised = GeomOpt(struct=atoms, fmax=1e-3, steps=500, filter_class=None)
    optimised.run()
    own = relax(stretched, RelaxSettings(fmax=1e-3, max_steps=500), calculator=calculator)
    assert own.converged
    assert abs(optimised.struct.get_potential_energy() - own.energy) < 1e-3 * len(stretched)
