"""Ensembles in checkpoints: exact, checked, and refused where one member is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.build import bulk, molecule
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from potentials import checkpoint as checkpoints
from potentials.backbones.egnn import EGNNConfig
from potentials.backbones.painn import PaiNNConfig
from potentials.calibration import HeadCalibration, QuantityCalibration
from potentials.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_single,
    read_manifest,
    save_calibrated,
    save_checkpoint,
)
from potentials.ensemble import Ensemble
from potentials.manifest import describe, golden_structure
from potentials.potential import Potential, PotentialConfig
from potentials.structures import graph_from_atoms

MADE_WITH = {"gfm-ase": "0.1.0", "torch": "2.13.0"}
NAMES = ("run-1", "run 2", "another")


def build(dtype: torch.dtype = torch.float32) -> Ensemble:
    """Two of one architecture around one of another, with digits that only their dtype has."""
    backbones: list[PaiNNConfig | EGNNConfig] = [PaiNNConfig(cutoff=4.0, width=8, depth=1, radial_size=6)] * 2
    backbones.insert(1, EGNNConfig(cutoff=3.5, width=8, depth=1, radial_size=6))
    members = []
    for seed, backbone in enumerate(backbones):
        heads = ("xtb", "emt") if seed == 2 else ("emt", "xtb")
        member = Potential(PotentialConfig(backbone=backbone, heads=heads, head_width=8), seed=seed).to(dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in member.parameters():
                weight.add_(torch.randn(weight.shape, dtype=dtype, generator=generator) / 9)
        member.references.set_head("emt", {"Al": -0.1, "Cu": 1 / 3 + seed}, scale=0.7, shift=0.05)
        member.references.set_head("xtb", {"H": -10.7, "O": -102.123456789012345 + seed}, scale=1.9)
        members.append(member)
    return Ensemble(members, NAMES)


def write(path: Path, ensemble: Ensemble) -> Path:
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=1)
    golden = [golden_structure(ensemble, crystal, "emt"), golden_structure(ensemble, molecule("H2O"), "xtb")]
    trainings = [{"seed": seed} for seed in range(3)]
    manifest = describe(ensemble, golden, made_with=MADE_WITH, training={"members": 3}, trainings=trainings)
    save_checkpoint(path, ensemble, manifest)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "ensemble.safetensors", build())


def content(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        return json.loads(file.metadata()[checkpoints.KEY]), tensors


def change(path: Path, edit: Callable[[dict[str, Any], dict[str, Tensor]], object]) -> None:
    """As somebody would who seals the file again."""
    manifest, tensors = content(path)
    edit(manifest, tensors)
    text = json.dumps(manifest)
    save_file(tensors, path, {checkpoints.KEY: text, checkpoints.DIGEST: checkpoints._digest(text, tensors)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_round_trip_is_exact(dtype: torch.dtype, tmp_path: Path) -> None:
    ensemble = build(dtype)
    loaded, manifest = load_checkpoint(write(tmp_path / "ensemble.safetensors", ensemble))
    assert isinstance(loaded, Ensemble)
    assert (loaded.names, loaded.dtype, loaded.heads, loaded.cutoff) == (NAMES, dtype, ("emt", "xtb"), 4.0)
    assert not loaded.training
    for was, now in zip(ensemble.members(), loaded.members(), strict=True):
        assert was.config == now.config
        before, after = was.state_dict(), now.state_dict()
        assert before.keys() == after.keys()
        for name, value in before.items():
            assert value.dtype == after[name].dtype, name
            assert torch.equal(value, after[name]), name
    graph = graph_from_atoms(molecule("H2O2"), 4.0, dataset=1)
    before, after = ensemble(graph), loaded(graph)
    assert set(before) == set(after)
    assert all(torch.equal(torch.nan_to_num(before[name]), torch.nan_to_num(after[name])) for name in before)
    assert manifest == read_manifest(tmp_path / "ensemble.safetensors")


def test_what_its_manifest_says(path: Path) -> None:
    manifest = read_manifest(path)
    ensemble = build()
    assert (manifest.format_version, manifest.dtype, manifest.cutoff) == (3, "float32", 4.0)
    assert [record.name for record in manifest.members] == list(NAMES)
    assert [record.potential for record in manifest.members] == list(ensemble.configs)
    assert [record.training for record in manifest.members] == [{"seed": seed} for seed in range(3)]
    assert manifest.potential == ensemble.configs[0]
    assert manifest.training == {"members": 3}
    assert manifest.heads["emt"].e0 == pytest.approx({"Al": -0.1, "Cu": 1 / 3 + 1})
    rows = {name: (row.unit, row.level) for name, row in manifest.quantities.items() if "uncertainty" in name}
    assert rows == {
        "energy_uncertainty": ("eV", "graph"),
        "forces_uncertainty": ("eV/Å", "atom"),
        "stress_uncertainty": ("eV/Å³", "graph"),
        "uncertainty": ("eV/Å", "graph"),
    }
    assert {name.partition(".")[0] for name in content(path)[1]} == {"0", "1", "2"}


def lose(name: str) -> Callable[[dict[str, Any], dict[str, Tensor]], object]:
    return lambda manifest, tensors: tensors.pop(name)


WEIGHT = "1.references.e0_DZ"


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lose(WEIGHT), r"its weights do not fit its own configuration \(.*Missing key.*e0_DZ"),
        (
            lambda _, tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("2.")],
            "its weights do not fit its own configuration .*Missing key",
        ),
        (
            lambda _, tensors: tensors.update({"1.more": torch.zeros(2)}),
            r"its weights do not fit its own configuration \(.*Unexpected key.*more",
        ),
        (
            lambda _, tensors: tensors.update({"3.references.e0_DZ": torch.zeros(2)}),
            r"3\.references\.e0_DZ belongs to none of its 3 members; the file is damaged",
        ),
        (lambda manifest, _: manifest["members"].pop(), r"2\.\S+ belongs to none of its 2 members"),
        (lambda _, tensors: tensors.update({WEIGHT: tensors[WEIGHT].float()}), "e0_DZ is float32 instead of float64"),
        (
            lambda _, tensors: tensors.update({WEIGHT: tensors[WEIGHT] + 1e-3}),
            "golden structure 0 gives another energy here than when it was saved",
        ),
        (lambda manifest, _: manifest["members"][1].pop("name"), r"its manifest is not valid at members\.1\.name"),
        (lambda manifest, _: manifest["members"][1].update(code="x"), r"its manifest is not valid at members\.1\.code"),
    ],
    ids=["missing", "member missing", "more", "stray", "not listed", "dtype", "changed", "nameless", "field"],
)
def test_a_damaged_member_is_refused(
    edit: Callable[[dict[str, Any], dict[str, Tensor]], object], told: str, path: Path
) -> None:
    change(path, edit)
    with pytest.raises(CheckpointError, match=told) as refused:
        load_checkpoint(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_one_member_makes_no_ensemble(path: Path) -> None:
    def one(manifest: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        manifest["members"] = manifest["members"][:1]
        for name in [name for name in tensors if not name.startswith("0.")]:
            del tensors[name]

    change(path, one)
    with pytest.raises(
        CheckpointError, match=r"its members make no ensemble \(an ensemble has two members or more; 1 giv"
    ):
        load_checkpoint(path)


def test_a_changed_bit_is_seen(path: Path) -> None:
    _, tensors = content(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors[WEIGHT][0, 29] += 1e-12
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match="changed since it was written"):
        load_checkpoint(path)


def test_what_takes_one_potential_refuses_it(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds an ensemble of 3; this takes the checkpoint of a single run"):
        load_single(path)


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    ensemble = build()
    manifest = describe(ensemble, [], made_with=MADE_WITH)
    members = ensemble.members()
    with torch.no_grad():
        next(members[2].parameters())[0] = torch.nan
    with pytest.raises(ValueError, match=r"weight 2\.\S+ is not finite"):
        save_checkpoint(tmp_path / "x.safetensors", Ensemble(members, NAMES), manifest)
    assert list(tmp_path.iterdir()) == []


def test_a_calibration_leaves_the_weights(path: Path, tmp_path: Path) -> None:
    known = {"structures": {"*": 20}, "values": {"*": 20}}
    row = QuantityCalibration(floor=0.01, factors={"0.9": {"*": 1.5}}, **known)
    first = HeadCalibration(quantities={"energy": row, "stress": row}, fingerprint="a")
    second = HeadCalibration(quantities={"forces": row}, fingerprint="b")
    save_calibrated(tmp_path / "once.safetensors", path, "emt", first)
    save_calibrated(tmp_path / "twice.safetensors", tmp_path / "once.safetensors", "xtb", second)
    loaded, manifest = load_checkpoint(tmp_path / "twice.safetensors")
    assert isinstance(loaded, Ensemble)
    assert manifest.calibration == {"emt": first, "xtb": second}
    assert manifest.model_copy(update={"calibration": {}}) == read_manifest(path)
    before, after = content(path)[1], content(tmp_path / "twice.safetensors")[1]
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_files_of_format_2_have_no_members(checkpoint: Path) -> None:
    def older(manifest: dict[str, Any], _: dict[str, Tensor]) -> None:
        manifest["format_version"] = 2
        del manifest["members"], manifest["calibration"]

    wanted = read_manifest(checkpoint)
    change(checkpoint, older)
    single, manifest = load_single(checkpoint)
    assert isinstance(single, Potential)
    assert manifest == wanted
    assert (manifest.members, manifest.calibration) == ((), {})
