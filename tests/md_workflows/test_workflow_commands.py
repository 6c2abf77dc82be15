"""The commands md, relax and screen, driven by EMT in place of a checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read, write
from typer.testing import CliRunner

from gfm_ase.commands import calculator
from gfm_ase.commands.md import md
from gfm_ase.commands.neb import neb
from gfm_ase.commands.relax import relax
from gfm_ase.commands.screen import screen
from md_workflows import ENSEMBLES, OPTIMIZERS, RelaxSettings
from md_workflows import relax as relax_in_python
from tests.md_workflows.commands import runner

app = typer.Typer()
for command in (md, neb, relax, screen):
    app.command()(command)

run = runner(app)
FAST = ("--steps", "4", "--timestep-fs", "4")


def test_md_and_restart(here: Path) -> None:
    words = ("md", "model.safetensors", "cu.extxyz", "--temperature-K", "300", "--timestep-fs", "4", "-o", "cu.traj")
    told = run(*words, "--steps", "10")
    assert "10 steps, 40 fs (10 steps now)" in told
    assert "Trajectory: cu.traj\nLog: cu.csv\nState: cu.state.npz\n" in told
    assert "(10 steps now)" in run(*words, "--steps", "20", "--restart")
    assert len(read("cu.traj", index=":")) == 3
    with pytest.raises(ValueError, match="exist already"):
        run(*words)
    assert "(5 steps now)" in run(*words, "--steps", "5", "--overwrite")
    with pytest.raises(ValueError, match="give one of them"):
        run(*words, "--restart", "--overwrite")


@pytest.mark.parametrize("name", ENSEMBLES)
def test_md_knows_every_ensemble(name: str, here: Path) -> None:
    bath = [] if name == "nve" else ["--temperature-K", "300"]
    bath += ["--pressure-GPa", "1", "--pdamp-fs", "500"] if name.startswith("npt") else []
    bath += ["--friction-per-fs", "0.1"] if name == "langevin" else []
    said = "4 steps, 16 fs" if ENSEMBLES[name][1] else "1 of 1 runs came to step 4."  # what ASE has not, the engine has
    assert said in run("md", "model.safetensors", "cu.extxyz", "--ensemble", name, *FAST, *bath)
    assert name in run("md", "--help")


def test_md_follows_ramps(here: Path) -> None:
    words = ("md", "model.safetensors", "cu.extxyz", *FAST)
    told = run(*words, "--temperature-K", "300..600/2", "-o", "ramp.traj")
    assert "1 of 1 runs came to step 4." in told
    hot = run(*words, "--ensemble", "npt", "--temperature-K", "300..600", "--pressure-GPa", "0..5", "-o", "hot.traj")
    assert "1 of 1 runs" in hot
    with pytest.raises(ValueError, match=r"--temperature-K 300\.\.: write a number, or a ramp"):
        run(*words, "--temperature-K", "300..")


def test_md_refuses_what_an_ensemble_does_not_take(here: Path) -> None:
    with pytest.raises(ValueError, match="NVE does not take 'temperature_K'"):
        run("md", "model.safetensors", "cu.extxyz", "--ensemble", "nve", "--temperature-K", "300")
    with pytest.raises(ValueError, match="temperature_K is needed"):
        run("md", "model.safetensors", "cu.extxyz")
    with pytest.raises(ValueError, match=r"no.cif: no such file"):
        run("md", "model.safetensors", "no.cif", "--temperature-K", "300")


def test_md_seed_and_frame(here: Path) -> None:
    words = ("md", "model.safetensors", "cu.extxyz", *FAST, "--temperature-K", "300", "--index", "0")
    run(*words, "-o", "a.traj")
    run(*words, "-o", "b.traj", "--seed", "1")
    a, b = read("a.traj", index=0), read("b.traj", index=0)
    assert len(a) == 1
    assert not np.array_equal(a.get_momenta(), b.get_momenta())


def test_md_of_many(here: Path) -> None:
    words = ("md", "model.safetensors", "cu.extxyz", "--ensemble", "nve", "--initial-temperature-K", "300", *FAST)
    told = run(*words, "--replicas", "3", "-o", "many.traj", "--trajectory-interval", "2")
    assert "3 of 3 runs came to step 4." in told
    assert "Trajectories, logs and state: many" in told
    frames = [read(f"many/{key:06d}.traj", index=":") for key in range(3)]
    assert [len(one) for one in frames] == [3, 3, 3]
    assert len({one[0].get_momenta().tobytes() for one in frames}) == 3
    with pytest.raises(ValueError, match="pass on_existing='restart'"):
        run(*words, "--replicas", "3", "-o", "many.traj", "--trajectory-interval", "2")
    longer = [*words[:-3], "8", *words[-2:]]
    told = run(*longer, "--replicas", "3", "-o", "many.traj", "--trajectory-interval", "2", "--restart")
    assert "3 of 3 runs came to step 8." in told
    assert len(read("many/000002.traj", index=":")) == 5


def test_md_guards_and_several_structures(here: Path) -> None:
    write("far.extxyz", bulk("Cu", a=4.5, cubic=True))
    words = ("md", "model.safetensors", "cu.extxyz", "far.extxyz", "--ensemble", "nve", *FAST, "-o", "out")
    told = run(*words, "--initial-temperature-K", "600", "--max-temperature-K", "1", "--max-drift-eV-per-atom", "9")
    assert "0 of 2 runs came to step 4." in told
    assert "Run 000001 stopped at step 0: the temperature reached" in told
    again = ("--max-temperature-K", "1", "--max-drift-eV-per-atom", "9", "--restart")
    assert "0 of 2 runs came to step 4." in run(*words, "--initial-temperature-K", "600", *again)
    told = run(*words, "--replicas", "6", "--min-distance-of-radii", "1.9", "--overwrite")
    assert "2 more stopped." in told
    assert sorted(path.name for path in Path("out").glob("*.csv")) == []
    with pytest.raises(ValueError, match="EMT does not give"):
        run(*words, "--max-uncertainty", "0.1", "--overwrite")
    told = run(*words, "--report", "temperature, msd", "--overwrite")
    assert "Report temperature of 2 runs: out/*.temperature.csv" in told
    assert "Left out for 2 runs: the report msd needs at least three frames, 1 were seen." in told
    assert "Report msd" not in told
    write("open.extxyz", Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]]))
    told = run(*words[:3], "open.extxyz", *words[4:], "--report", "pressure", "--overwrite")
    assert "Run 000001 did not begin: ValueError: the report pressure needs a structure that repeats" in told
    assert "leave it out.\nTrajectories" in told
    assert "Report pressure of 1 runs: out/*.pressure.csv" in told
    assert [path.name for path in Path("out").glob("*.*.csv")] == ["000000.pressure.csv"]
    with pytest.raises(ValueError, match="max_temperature_K"):
        run(*words, "--max-temperature-K", "-1", "--overwrite")


def test_relax(here: Path) -> None:
    told = run("relax", "model.safetensors", "cu.extxyz", "--fmax", "0.01", "--trajectory", "way.traj", "-o", "cu.cif")
    expected = relax_in_python(read("cu.extxyz"), RelaxSettings(fmax=0.01), calculator=EMT())
    assert f"Converged after {expected.steps} steps" in told
    assert "Structure: cu.cif\nTrajectory: way.traj\n" in told
    assert len(read("way.traj", index=":")) == expected.steps + 1
    assert read("cu.cif").get_volume() == pytest.approx(expected.atoms.get_volume(), rel=1e-6)


def test_relax_says_when_it_did_not_converge(here: Path) -> None:
    result = CliRunner().invoke(app, ["relax", "model.safetensors", "cu.extxyz", "--max-steps", "1", "-o", "cu.extxyz"])
    assert result.exit_code == 1
    assert "NOT converged (max_steps) after 1 steps" in result.output
    assert read("cu.extxyz").calc is not None


def test_relax_cell_options(here: Path) -> None:
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.pbc = (True, True, False)
    slab.set_cell(slab.cell.array * [[1.02], [1.02], [1.0]], scale_atoms=True)
    write("slab.traj", slab)
    words = ("relax", "model.safetensors", "slab.traj", "-o", "out.traj")
    with pytest.raises(ValueError, match="zz, yz, xz would stretch an open direction"):
        run(*words, "--cell")
    run(*words, "--cell", "--mask", "xx,yy,xy")
    relaxed = read("out.traj")
    assert relaxed.cell[2, 2] == slab.cell[2, 2]
    assert relaxed.cell[0, 0] < 0.995 * slab.cell[0, 0]
    with pytest.raises(ValueError, match="'zx' is no strain"):
        run(*words, "--cell", "--mask", "xx,zx")
    with pytest.raises(ValueError, match="add --cell to relax it"):
        run(*words, "--pressure-GPa", "1")
    for option in ("--hydrostatic", "--constant-volume"):
        with pytest.raises(ValueError, match="the volume holds vacuum"):
            run(*words, "--cell", option)


def test_relax_looks_at_the_output_first(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*_: Any) -> None:
        raise AssertionError("the calculator was built in vain")

    monkeypatch.setattr(calculator, "build_calculator", unwanted)
    for name, told in (("no/cu.cif", "does not exist"), ("cu.blob", "ASE writes no format of this name")):
        with pytest.raises(ValueError, match=told):
            run("relax", "model.safetensors", "cu.extxyz", "-o", name)


def test_optimizers_are_in_the_help() -> None:
    text = run("relax", "--help")
    assert all(name in text for name in OPTIMIZERS)


def test_the_calculator_gets_what_was_asked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def build(*given: Any) -> EMT:
        seen.append(given)
        return EMT()

    monkeypatch.setattr(calculator, "build_calculator", build)
    options = ("--head", "alloys", "--device", "cpu", "--dtype", "float64", "--compile")
    run("md", "model.safetensors", "cu.extxyz", "--temperature-K", "300", *FAST, *options)
    run("relax", "model.safetensors", "cu.extxyz", *options)
    run("screen", "model.safetensors", "cu.extxyz", *options)
    run("screen", "model.safetensors", "cu.extxyz")
    assert [given[:5] for given in seen] == [(Path("model.safetensors"), "alloys", "cpu", "float64", True)] * 3 + [
        (Path("model.safetensors"), None, "auto", None, False)
    ]
    of = [atoms.get_chemical_formula() for given in seen[:2] for atoms in given[5]]
    assert of == ["Cu4", "Cu4"], "what chooses among heads"


def test_help_needs_nothing_heavy() -> None:
    """Importing the commands brings neither torch nor ASE's optimizers: help comes at once."""
    import subprocess
    import sys

    code = (
        "import sys, gfm_ase.commands.md, gfm_ase.commands.relax, gfm_ase.commands.screen; "
        "print([name for name in ('torch', 'ase', 'scipy', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_neb(here: Path) -> None:
    for name, site in (("before.extxyz", "fcc"), ("after.extxyz", "hcp")):
        atoms = fcc111("Cu", (1, 1, 2), vacuum=6)
        add_adsorbate(atoms, "O", 1.2, site)
        atoms.info.clear()  # ASE's own notes on sites, which it cannot write
        atoms.set_constraint(FixAtoms(indices=[0, 1]))
        write(name, atoms)
    words = ("neb", "model.safetensors", "before.extxyz", "after.extxyz", "--images", "3", "--fmax", "0.1")
    told = run(*words, "-o", "hop.traj")
    assert "Converged after" in told
    assert "Images: hop.traj" in told
    frames = read("hop.traj", index=":")
    energies = [frame.get_potential_energy() for frame in frames]
    assert len(frames) == 5
    assert f"Barrier {max(energies) - energies[0]:.4f} eV, back {max(energies) - energies[-1]:.4f} eV" in told
    result = CliRunner().invoke(app, [*words, "--max-steps", "0", "--keep-ends"])
    assert result.exit_code == 1
    assert "NOT converged after 0 steps" in result.output
    assert len(read("neb.extxyz", index=":")) == 5
    with pytest.raises(ValueError, match="images = 0 is refused"):
        run(*words[:5], "0")
    with pytest.raises(ValueError, match="has to end in one of"):
        run(*words, "-o", "hop.cif")
