"""The checkpoint: exact, upgraded where it is old, never half written."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from potentials import checkpoint as checkpoints
from potentials.checkpoint import load_checkpoint, read_manifest, save_checkpoint
from potentials.manifest import GoldenStructure, Manifest, describe, golden_structure
from potentials.potential import Potential
from potentials.structures import graph_from_atoms

Write = Callable[[Path, Potential], Path]


def content(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict


def results(potential: Potential, atoms: Atoms, head: str) -> dict[str, Tensor]:
    graph = graph_from_atoms(atoms, potential.cutoff, dataset=potential.head_index(head))
    with torch.no_grad():
        computed: dict[str, Tensor] = potential(graph)
    return computed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_is_exact(dtype: torch.dtype, tmp_path: Path, potential: Potential, write_checkpoint: Write) -> None:
    potential = potential.to(dtype)
    with torch.no_grad():
        for parameter in potential.parameters():  # digits that only this dtype has
            parameter.add_(torch.randn(parameter.shape, dtype=dtype, generator=torch.Generator().manual_seed(0)) / 9)
    path = write_checkpoint(tmp_path / "deep" / "model.safetensors", potential)
    loaded, manifest = load_checkpoint(path)
    was, now = potential.state_dict(), loaded.state_dict()
    assert was.keys() == now.keys()
    for name in was:
        assert was[name].dtype == now[name].dtype, name
        assert torch.equal(was[name], now[name]), name
    assert loaded.dtype == dtype
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert loaded.references.e0_DZ.dtype == torch.float64
    assert manifest.heads["xtb"].e0["O"] == -102.123456789012345
    assert manifest.heads["emt"].e0 == {"Al": -0.1, "Cu": 1 / 3}
    for atoms, head in ((bulk("Cu") * (2, 1, 1), "emt"), (molecule("H2O2"), "xtb")):
        before, after = results(potential, atoms, head), results(loaded, atoms, head)
        for name in before:
            assert np.array_equal(before[name].numpy(), after[name].numpy(), equal_nan=True), name


def test_manifest_says_what_the_weights_mean(checkpoint: Path, potential: Potential) -> None:
    manifest = read_manifest(checkpoint)
    assert manifest == load_checkpoint(checkpoint)[1]
    assert (manifest.format_version, manifest.dtype, manifest.cutoff) == (3, "float32", 4.0)
    assert manifest.potential == potential.config
    assert manifest.heads["emt"].elements == ("Al", "Cu")
    assert manifest.heads["emt"].labels == ("energy",)
    assert manifest.heads["emt"].fingerprints == {"train": "ab" * 32}
    assert manifest.heads["emt"].test_errors == {"energy_mae_eV_per_atom": 1 / 3}
    assert (manifest.heads["emt"].scale, manifest.heads["emt"].shift) == (0.7, 0.05)
    assert manifest.quantities["stress"].unit == "eV/Å³"
    assert manifest.quantities["forces"].shape == (3,)
    assert manifest.training == {"epochs": 3, "config": {"seed": 1}}
    assert [golden.head for golden in manifest.golden] == ["emt", "xtb"]
    assert manifest.golden[0].stress is not None
    assert manifest.golden[1].stress is None  # a molecule has no cell to strain


def test_an_older_version_is_upgraded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Format 1 pretends to be the old one: `heads` was called `branches`, and E0 was stored with the other sign."""
    expected, _ = load_checkpoint(checkpoint)
    metadata, tensors = content(checkpoint)
    manifest = json.loads(metadata[checkpoints.KEY])
    old = {**manifest, "branches": manifest["heads"], "format_version": 1}
    del old["heads"]
    tensors["references.e0_DZ"] *= -1
    text = json.dumps(old)
    save_file(tensors, checkpoint, {checkpoints.KEY: text, checkpoints.DIGEST: checkpoints._digest(text, tensors)})

    def first_to_second(given: checkpoints.Content) -> checkpoints.Content:
        table, values = given
        renamed = {("heads" if key == "branches" else key): value for key, value in table.items()}
        return {**renamed, "format_version": 2}, {**values, "references.e0_DZ": -values["references.e0_DZ"]}

    def second_to_third(given: checkpoints.Content) -> checkpoints.Content:
        assert given[0]["format_version"] == 2
        return {**given[0], "format_version": 3}, given[1]

    class Third(Manifest):
        format_version: int = 3  # type: ignore[assignment]  # stands for a later Literal

    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 3)
    monkeypatch.setattr(checkpoints, "UPGRADES", {1: first_to_second, 2: second_to_third})
    monkeypatch.setattr(checkpoints, "Manifest", Third)
    loaded, upgraded = load_checkpoint(checkpoint)
    assert upgraded.format_version == 3
    assert read_manifest(checkpoint).heads == upgraded.heads
    assert torch.equal(loaded.references.e0_DZ, expected.references.e0_DZ)


def test_every_version_can_be_upgraded() -> None:
    assert sorted(checkpoints.UPGRADES) == list(range(1, checkpoints.FORMAT_VERSION))


def test_a_failure_while_writing_leaves_the_old_file(
    checkpoint: Path, potential: Potential, write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashlib.sha256(checkpoint.read_bytes()).hexdigest()

    def half(tensors: dict[str, Tensor], path: str, metadata: dict[str, str]) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", half)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(checkpoint, potential)
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_writing_again_replaces(checkpoint: Path, potential: Potential, write_checkpoint: Write) -> None:
    potential.references.set_head("emt", {"Cu": 5.0})
    write_checkpoint(checkpoint, potential)
    assert load_checkpoint(checkpoint)[1].heads["emt"].e0 == {"Cu": 5.0}
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_not_written(value: float, tmp_path: Path, potential: Potential) -> None:
    manifest = describe(potential, [], made_with={})
    with torch.no_grad():
        potential.backbone.embedding.weight[3, 0] = value
    with pytest.raises(ValueError, match=r"weight backbone\.embedding\.weight is not finite"):
        save_checkpoint(tmp_path / "model.safetensors", potential, manifest)
    assert not list(tmp_path.iterdir())


def test_a_golden_number_that_is_none_is_not_written(tmp_path: Path, potential: Potential) -> None:
    """Finite weights can overflow; JSON has no infinity, and nobody could read the file."""
    golden = golden_structure(potential, molecule("H2O"), "xtb")
    broken = GoldenStructure(**{**golden.model_dump(), "energy": float("inf")})
    manifest = describe(potential, [broken], made_with={})
    with pytest.raises(ValueError, match=r"golden structure 0 are not finite"):
        save_checkpoint(tmp_path / "model.safetensors", potential, manifest)
    assert not list(tmp_path.iterdir())
