"""Exported potentials: one file, checked at load, the same numbers in every mode."""

import copy
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from torch import Tensor
from typer.testing import CliRunner

from gfm_ase import GFMCalculator, load, load_export
from gfm_ase.cli import app
from potentials.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from potentials.exported import CHECKPOINT, RECORD, ExportError, agree, export_potential, this_machine
from potentials.graph import batch
from potentials.manifest import describe, golden_structure
from potentials.programs import Traced, with_constants
from potentials.structures import graph_from_atoms

pytestmark = [
    pytest.mark.slow,  # each export takes tens of seconds, on a busy machine minutes
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def exported(two_heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both heads, float32, exported by the command."""
    path = tmp_path_factory.mktemp("exported") / "model.pt2"
    result = CliRunner().invoke(app, ["export", str(two_heads), "-o", str(path)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert f"Exported: {path} (" in result.output
    return path


@pytest.fixture(scope="module")
def exactly(two_heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The head emt alone, float64."""
    path = tmp_path_factory.mktemp("exactly") / "emt.pt2"
    export_potential(two_heads, path, head="emt", dtype="float64")
    return path


def structures() -> dict[str, Atoms]:
    crystal = bulk("Cu", cubic=True) * (2, 1, 1)
    slab = fcc111("Cu", (2, 2, 2), vacuum=6.0)
    slab.pbc = (True, True, False)
    cluster = Atoms("Cu4", positions=[[0, 0, 0], [2.4, 0, 0], [0, 2.5, 0.1], [0.2, 0.1, 2.3]])
    for number, atoms in enumerate((crystal, slab, cluster)):
        atoms.numbers[::3] = 13
        atoms.rattle(0.1, seed=number)
    return {"periodic": crystal, "slab": slab, "molecule": cluster}


def results(calculator: GFMCalculator, atoms: Atoms) -> dict[str, Any]:
    copied = atoms.copy()
    calculator.calculate(copied)
    return dict(calculator.results)


@pytest.mark.parametrize("what", ["periodic", "slab", "molecule"])
def test_energy_forces_and_stress_in_all_modes(two_heads: Path, exported: Path, exactly: Path, what: str) -> None:
    atoms = structures()[what]
    oracle = results(GFMCalculator(two_heads, head="emt", dtype="float64"), atoms)
    assert ("stress" in oracle) == (what != "molecule")
    modes = {
        "eager 32": (GFMCalculator(two_heads, head="emt"), 1e-5),
        "compiled 32": (GFMCalculator(two_heads, head="emt", compile=True), 1e-5),
        "exported 32": (GFMCalculator.from_export(exported, head="emt"), 1e-5),
        "compiled 64": (GFMCalculator(two_heads, head="emt", dtype="float64", compile=True), 1e-12),
        "exported 64": (GFMCalculator.from_export(exactly), 1e-12),
    }
    volume = atoms.cell.volume or 1.0
    # rounding of a float32 network is 1e-7 of what one unit is worth (2 eV), a hundredth of the bounds
    floors = {"energy": 2.0, "free_energy": 2.0, "energies": 2.0, "forces": 2.0, "stress": 2.0 * 8 / volume}
    for mode, (calculator, part) in modes.items():
        found = results(calculator, atoms)
        assert found.keys() == oracle.keys(), mode
        for name, expected in oracle.items():
            allowed = part * max(floors[name], float(np.abs(expected).max()))
            assert np.allclose(found[name], expected, rtol=0, atol=allowed), (mode, name)


def test_batches_of_all_sizes_and_both_heads(exported: Path, two_heads: Path) -> None:
    """The stress of molecules is NaN in the program too."""
    loaded, plain = load_export(exported), load(two_heads).potential
    cells = [graph_from_atoms(atoms, 4.0) for atoms in structures().values()]
    water = graph_from_atoms(molecule("H2O"), 4.0, dataset=1)
    alone = graph_from_atoms(Atoms("H"), 4.0, dataset=1)
    for graph in (cells[0], water, alone, batch([water] * 3), batch([*cells, water, alone]), batch(cells * 20)):
        with torch.no_grad():
            expected = plain(graph)
        found = loaded.evaluate(graph)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert agree(found[name], value, 1e-5, 2.0), name
        assert torch.equal(found["stress"].isnan(), expected["stress"].isnan())


def test_what_is_in_the_file(exported: Path, exactly: Path, two_heads: Path) -> None:
    with zipfile.ZipFile(exported) as archive:
        (inner,) = (name for name in archive.namelist() if name.endswith(CHECKPOINT))
        assert archive.read(inner) == two_heads.read_bytes()
        assert not [name for name in archive.namelist() if name.endswith((".pkl", ".pt"))]
    assert load_export(exported).manifest == load_checkpoint(two_heads)[1]
    single = load_export(exactly)
    assert (single.potential.heads, tuple(single.manifest.heads)) == (("emt",), ("emt",))
    assert (single.potential.dtype, single.manifest.dtype) == (torch.float64, "float32")


def test_a_calculator_of_an_export_can_be_copied_and_sent(exported: Path) -> None:
    atoms = structures()["periodic"]
    calculator = GFMCalculator.from_export(exported, head="emt")
    expected = results(calculator, atoms)
    for other in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):  # noqa: S301 - our own
        assert np.array_equal(results(other, atoms)["forces"], expected["forces"])
    with pytest.raises(ValueError, match="never seen H, O"):
        calculator.calculate(molecule("H2O"))
    with pytest.raises(ValueError, match="choose one: emt, xtb"):
        GFMCalculator.from_export(exported)


def test_checkpoints_and_exports_are_not_taken_for_each_other(exported: Path, two_heads: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"code in it, .* its maker has GFMCalculator.from_export\(\)"):
        load(exported)
    with pytest.raises(ExportError, match="not an exported potential, or damaged"):
        load_export(two_heads)
    with pytest.raises(ExportError, match="there is no such file"):
        load_export(tmp_path / "none.pt2")
    with pytest.raises(ValueError, match=r"'model.so'; its name must end in .pt2"):
        export_potential(two_heads, tmp_path / "model.so")
    with pytest.raises(ValueError, match="unknown head 'dft'"):
        export_potential(two_heads, tmp_path / "model.pt2", head="dft")
    assert not list(tmp_path.iterdir())


def rewritten(path: Path, target: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            new.writestr(entry, change(content) if entry.endswith(name) else content)
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"torch": "1.0"}, r"made with torch 1\.0, and this is .*; export the checkpoint again here"),
        ({"system": "Darwin arm64"}, "made for Darwin arm64, and this is .*; export it again here"),
        ({"processor": ["avx1024"]}, "made for a processor that has avx1024, unlike this one"),
    ],
)
def test_other_machines_are_refused(exported: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    def other(content: bytes) -> bytes:
        record = json.loads(content)
        return json.dumps({**record, "machine": {**record["machine"], **change}}).encode()

    with pytest.raises(ExportError, match=message):
        load_export(rewritten(exported, tmp_path / "other.pt2", RECORD, other))


def test_a_processor_with_more_instructions_will_do(exported: Path, tmp_path: Path) -> None:
    def fewer(content: bytes) -> bytes:
        record = json.loads(content)
        flags = [word for word in record["machine"]["processor"] if word != "avx2"]
        return json.dumps({**record, "machine": {**record["machine"], "processor": flags}}).encode()

    assert "avx2" in this_machine().processor or this_machine().processor
    assert load_export(rewritten(exported, tmp_path / "older.pt2", RECORD, fewer)).potential.heads == ("emt", "xtb")


def test_a_program_of_other_weights_is_refused(exported: Path, two_heads: Path, tmp_path: Path) -> None:
    potential, manifest = load_checkpoint(two_heads)
    with torch.no_grad():
        next(potential.backbone.parameters()).mul_(1.01)
    golden = [golden_structure(potential, one.atoms(), one.head) for one in manifest.golden]
    save_checkpoint(tmp_path / "other.safetensors", potential, describe(potential, golden, made_with={}))
    content = (tmp_path / "other.safetensors").read_bytes()
    forged = rewritten(exported, tmp_path / "forged.pt2", CHECKPOINT, lambda _: content)
    with pytest.raises(ExportError, match="its program gives other results than its weights"):
        load_export(forged)


def test_damaged_files_are_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"damaged.pt2 \(checkpoint.safetensors in it\): .* SHA-256"):
        load_export(rewritten(exported, tmp_path / "damaged.pt2", CHECKPOINT, lambda old: old[:-1] + b"\x07"))
    with pytest.raises(ExportError, match="torch cannot load its program"):
        load_export(rewritten(exported, tmp_path / "empty.pt2", ".wrapper.so", lambda old: b"nothing"))
    short = tmp_path / "short.pt2"
    shutil.copy(exported, short)
    short.write_bytes(exported.read_bytes()[:5000])
    with pytest.raises(ExportError, match="not an exported potential, or damaged"):
        load_export(short)


def test_a_program_that_disagrees_is_not_exported(
    one_head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def others(traced: Traced, state: Mapping[str, Tensor]) -> Traced:
        changed = {name: 1.01 * value if value.is_floating_point() else value for name, value in state.items()}
        return with_constants(traced, changed)

    monkeypatch.setattr("potentials.exported.with_constants", others)
    with pytest.raises(ExportError, match="its program gives other results than its weights"):
        export_potential(one_head, tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_infinities_do_not_hide_what_differs() -> None:
    """Uncertainties of elements never seen are infinite; the others must agree all the same."""
    wanted = torch.tensor([torch.inf, 1.0])
    assert agree(wanted, wanted, 1e-4, 1.0)
    assert not agree(torch.tensor([torch.inf, 2.0]), wanted, 1e-4, 1.0)
    assert not agree(torch.tensor([3.0, 1.0]), wanted, 1e-4, 1.0)
