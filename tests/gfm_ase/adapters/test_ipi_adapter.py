"""The driver of i-PI against `GFMCalculator`, and i-PI itself for a few steps of path-integral dynamics."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule

from gfm_ase import GFMCalculator

BOHR, HARTREE = 0.529177210903, 27.211386245988
"""Å and eV, CODATA 2018; ASE's and i-PI's are other years', equal to some 1e-8."""

INPUT = """
<simulation verbosity='low'>
  <output prefix='run'><properties stride='1' filename='out'> [ step, conserved{{electronvolt}},
    potential{{electronvolt}} ] </properties></output>
  <total_steps> 4 </total_steps>
  <prng><seed> 1 </seed></prng>
  {forcefield}
  <system>
    <initialize nbeads='4'>
      <file mode='ase'> start.extxyz </file> <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='gfm'/></forces>
    <motion mode='dynamics'><dynamics mode='nve'><timestep units='femtosecond'> 0.5 </timestep></dynamics></motion>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
  </system>
</simulation>
"""


@pytest.fixture(scope="module")
def ipi() -> Any:
    return pytest.importorskip("ipi", reason="i-PI is not installed: pip install 'gfm-ase[ipi]'")


def test_one_and_many_geometries(ipi: Any, one_head: Path, tmp_path: Path) -> None:
    from gfm_ase.adapters.ipi_driver import GFMDriver

    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(np.add(atoms.cell, [[0, 0.1, 0], [0.2, 0, 0], [0, 0.3, 0]]), scale_atoms=True)
    ase.io.write(tmp_path / "start.extxyz", atoms)
    driver = GFMDriver(str(tmp_path / "start.extxyz"), str(one_head), device="cpu", verbosity="low")
    frames = [atoms.copy() for _ in range(3)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.1, seed=seed)
        frame.set_cell(frame.cell * (1 + 0.01 * seed), scale_atoms=True)
    cells, positions = [f.cell.array.T / BOHR for f in frames], [f.positions / BOHR for f in frames]
    answers = driver(cells, positions)
    assert len(answers) == 3
    for frame, (energy, forces, virial, extras), cell, position in zip(frames, answers, cells, positions, strict=True):
        frame.calc = GFMCalculator(one_head, device="cpu")
        assert abs(energy * HARTREE - frame.get_potential_energy()) < 2e-5
        assert np.abs(forces * HARTREE / BOHR - frame.get_forces()).max() < 2e-5
        pushed = -frame.get_stress(voigt=False) * frame.get_volume()
        assert np.abs(virial * HARTREE - pushed).max() < 1e-4
        assert extras == ""
        alone = driver(cell, position)
        assert abs(alone[0] - energy) < 1e-6


def test_ipi_itself_with_four_beads_a_call(ipi: Any, two_heads: Path, tmp_path: Path) -> None:
    from gfm_ase.adapters.ipi_driver import ffdirect

    water = molecule("H2O", vacuum=8)
    ase.io.write(tmp_path / "start.extxyz", water)
    (tmp_path / "model.safetensors").write_bytes(two_heads.read_bytes())
    forcefield = ffdirect("model.safetensors", "start.extxyz", head="xtb", batch_size=4)
    (tmp_path / "input.xml").write_text(INPUT.format(forcefield=forcefield), encoding="utf-8")
    command = Path(sys.executable).with_name("i-pi")
    done = subprocess.run(
        [sys.executable, command, "input.xml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = np.loadtxt(tmp_path / "run.out")
    assert len(rows) == 5
    water.calc = GFMCalculator(two_heads, head="xtb", device="cpu")
    assert abs(rows[0, 2] - water.get_potential_energy()) < 1e-4  # all beads begin there
    assert np.ptp(rows[:, 1]) < 0.01
    assert np.ptp(rows[:, 2]) > 0


def test_what_its_input_cannot_hold(ipi: Any) -> None:
    from gfm_ase.adapters.ipi_driver import ffdirect

    with pytest.raises(ValueError, match=r"checkpoint is 'a,b.safetensors'; i-PI's input has no way to write , : { }"):
        ffdirect("a,b.safetensors", "start.extxyz")
