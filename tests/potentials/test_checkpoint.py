"""The checkpoint: exact, strict, checked, without pickle, never half written."""

import hashlib
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from potentials import checkpoint as checkpoints
from potentials.backbones.painn import PaiNN
from potentials.checkpoint import CheckpointError, load_checkpoint, read_manifest, save_checkpoint
from potentials.manifest import GoldenStructure, Manifest, describe, golden_structure
from potentials.potential import Potential
from potentials.structures import graph_from_atoms

Write = Callable[[Path, Potential], Path]


def sentence(path: Path, *, whole: bool = True) -> str:
    """What a person is told of a file that is refused; loading and reading its manifest say the same."""
    with pytest.raises(CheckpointError) as refusal:
        load_checkpoint(path)
    text = str(refusal.value)
    if whole:
        with pytest.raises(CheckpointError) as again:
            read_manifest(path)
        assert str(again.value) == text
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 400
    return text.removeprefix(f"{path}: ")


def content(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict


def rewrite(path: Path, tensors: dict[str, Tensor], manifest: Any, *, sealed: bool) -> None:
    """The file with another content; `sealed` with a digest that fits, as a program of ours would write it."""
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    digest = checkpoints._digest(text, tensors) if sealed else content(path)[0][checkpoints.DIGEST]
    save_file(tensors, path, metadata={checkpoints.KEY: text, checkpoints.DIGEST: digest})


def reseal(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    metadata, tensors = content(path)
    manifest = json.loads(metadata[checkpoints.KEY])
    change(manifest)
    rewrite(path, tensors, manifest, sealed=True)


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
    assert (manifest.format_version, manifest.dtype, manifest.cutoff) == (1, "float32", 4.0)
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


def test_no_file(tmp_path: Path) -> None:
    assert sentence(tmp_path / "none.safetensors") == "there is no such file"


def test_a_folder(tmp_path: Path) -> None:
    assert sentence(tmp_path) == "this is a folder; name the checkpoint in it"


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 3000, -4000, -1])
def test_truncated(kept: int, checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:kept])
    assert "truncated" in sentence(checkpoint)


def torch_save(path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [0.0]}))


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def text(path: Path) -> None:
    path.write_text("energy 3\n" * 50)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", "b")


@pytest.mark.parametrize("make", [torch_save, plain_pickle, random_bytes, text, archive])
def test_foreign(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "model.safetensors")
    assert "not a checkpoint" in sentence(tmp_path / "model.safetensors")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_file_of_another_program(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors", metadata=metadata)
    assert "not of gfm-ase" in sentence(tmp_path / "other.safetensors")


class Harmful:
    """Pickled, this writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["pickle", "torch.save", "manifest"])
def test_nothing_is_unpickled(how: str, tmp_path: Path, checkpoint: Path) -> None:
    done = tmp_path / "done"
    payload = pickle.dumps(Harmful(done))
    if how == "pickle":
        checkpoint.write_bytes(payload)
    elif how == "torch.save":
        torch.save(Harmful(done), checkpoint)
    else:
        rewrite(checkpoint, content(checkpoint)[1], payload.decode("latin1"), sealed=True)
    sentence(checkpoint)
    assert not done.exists()
    pickle.loads(payload)  # noqa: S301 - the payload is this test's own, and must be shown to be sharp
    assert done.exists()


@pytest.mark.parametrize("place", [0.0, 0.3, 0.9])
def test_a_flipped_bit_among_the_tensors(place: float, checkpoint: Path) -> None:
    data = bytearray(checkpoint.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    data[start + int(place * (len(data) - start - 1))] ^= 1
    checkpoint.write_bytes(data)
    assert "changed since it was written" in sentence(checkpoint)


@pytest.mark.parametrize(("old", "new"), [("-10.7", "-10.8"), ("eV/Å³", "GPa/³ "), ("painn", "Painn")])
def test_an_edited_manifest(old: str, new: str, checkpoint: Path) -> None:
    data = checkpoint.read_bytes()
    before, after = old.encode(), new.encode()
    assert before in data
    assert len(before) == len(after)
    checkpoint.write_bytes(data.replace(before, after, 1))
    assert "changed since it was written" in sentence(checkpoint)


def test_edited_reference_energies(checkpoint: Path) -> None:
    metadata, tensors = content(checkpoint)
    tensors["references.e0_DZ"][0, 29] += 1e-9
    rewrite(checkpoint, tensors, metadata[checkpoints.KEY], sealed=False)
    assert "changed since it was written" in sentence(checkpoint)


def test_no_digest(checkpoint: Path) -> None:
    metadata, tensors = content(checkpoint)
    save_file(tensors, checkpoint, metadata={checkpoints.KEY: metadata[checkpoints.KEY]})
    assert "changed since it was written" in sentence(checkpoint)


@pytest.mark.parametrize("manifest", ["", "{", "[]", "3", "null", "{}", '"text"'])
def test_a_manifest_that_is_none(manifest: str, checkpoint: Path) -> None:
    rewrite(checkpoint, content(checkpoint)[1], manifest, sealed=True)
    assert "manifest is not readable" in sentence(checkpoint)


@pytest.mark.parametrize("version", [2, 99, 0, -1, "1", 1.5, None, True])
def test_another_version(version: object, checkpoint: Path) -> None:
    reseal(checkpoint, lambda manifest: manifest.update(format_version=version))
    told = sentence(checkpoint)
    assert f"checkpoint format {version}" in told
    assert "reads up to 1" in told
    assert "pip install -U gfm-ase" in told


def test_a_manifest_with_a_strange_key_names_it(checkpoint: Path) -> None:
    reseal(checkpoint, lambda manifest: manifest.update(colour="red"))
    assert "not valid at colour" in sentence(checkpoint)


def test_a_manifest_without_a_key_names_it(checkpoint: Path) -> None:
    reseal(checkpoint, lambda manifest: manifest.pop("golden"))
    assert "not valid at golden" in sentence(checkpoint)


def test_a_missing_tensor(checkpoint: Path) -> None:
    metadata, tensors = content(checkpoint)
    del tensors["references.e0_DZ"]
    rewrite(checkpoint, tensors, metadata[checkpoints.KEY], sealed=True)
    told = sentence(checkpoint, whole=False)
    assert "do not fit its own configuration" in told
    assert "references.e0_DZ" in told


def test_a_tensor_too_many(checkpoint: Path) -> None:
    metadata, tensors = content(checkpoint)
    rewrite(checkpoint, {**tensors, "extra": torch.zeros(2)}, metadata[checkpoints.KEY], sealed=True)
    assert "extra" in sentence(checkpoint, whole=False)


def test_a_tensor_of_another_shape(checkpoint: Path) -> None:
    metadata, tensors = content(checkpoint)
    tensors["references.scale_D"] = torch.ones(3, dtype=torch.float64)
    rewrite(checkpoint, tensors, metadata[checkpoints.KEY], sealed=True)
    assert "references.scale_D" in sentence(checkpoint, whole=False)


def test_tensors_of_another_dtype(checkpoint: Path) -> None:
    """Strict in this too: a silent conversion would round the weights."""
    metadata, tensors = content(checkpoint)
    tensors["references.scale_D"] = tensors["references.scale_D"].float()
    rewrite(checkpoint, tensors, metadata[checkpoints.KEY], sealed=True)
    told = sentence(checkpoint, whole=False)
    assert "references.scale_D is float32 instead of float64" in told


@pytest.mark.parametrize(("name", "index"), [("references.e0_DZ", (0, 29)), ("references.e0_DZ", (1, 8))])
def test_golden_structures_see_a_changed_tensor(name: str, index: tuple[int, int], checkpoint: Path) -> None:
    metadata, tensors = content(checkpoint)
    tensors[name][index] += 1e-4
    rewrite(checkpoint, tensors, metadata[checkpoints.KEY], sealed=True)
    told = sentence(checkpoint, whole=False)
    assert f"golden structure {index[0]} gives another energy" in told
    assert "gfm-ase" in told
    assert "torch" in told


def test_golden_structures_see_every_weight_of_the_backbone(checkpoint: Path) -> None:
    metadata, tensors = content(checkpoint)
    whole = checkpoint.read_bytes()
    names = [name for name in tensors if name.startswith("backbone.") and tensors[name].is_floating_point()]
    for name in names:
        changed = {**tensors, name: tensors[name] * 1.01 + 0.01}
        rewrite(checkpoint, changed, metadata[checkpoints.KEY], sealed=True)
        assert "golden structure 0" in sentence(checkpoint, whole=False), name
        checkpoint.write_bytes(whole)
    assert len(names) > 10


def test_golden_structures_see_another_backbone(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = PaiNN.forward
    monkeypatch.setattr(PaiNN, "forward", lambda self, *given: forward(self, *given) * 1.0001)
    assert "golden structure 0 gives another" in sentence(checkpoint, whole=False)


def spoil_forces(manifest: dict[str, Any]) -> None:
    manifest["golden"][1]["forces"][0][2] += 1e-4


def spoil_stress(manifest: dict[str, Any]) -> None:
    manifest["golden"][0]["stress"][0][0] += 1e-5


def lose_stress(manifest: dict[str, Any]) -> None:
    manifest["golden"][0]["stress"] = None


def lose_an_atom(manifest: dict[str, Any]) -> None:
    manifest["golden"][1]["forces"].pop()


@pytest.mark.parametrize(
    ("change", "what"),
    [(spoil_forces, "forces"), (spoil_stress, "stress"), (lose_stress, "stress"), (lose_an_atom, "forces")],
)
def test_golden_numbers_that_differ(change: Callable[[dict[str, Any]], None], what: str, checkpoint: Path) -> None:
    reseal(checkpoint, change)
    assert f"gives another {what}" in sentence(checkpoint, whole=False)


def test_a_golden_structure_of_an_unknown_head(checkpoint: Path) -> None:
    reseal(checkpoint, lambda manifest: manifest["golden"][0].update(head="dft"))
    assert "golden structure 0 cannot be computed" in sentence(checkpoint, whole=False)


def test_an_older_version_is_upgraded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Format 1 pretends to be the old one: `heads` was called `branches`, and E0 was stored with the other sign."""
    expected, _ = load_checkpoint(checkpoint)
    metadata, tensors = content(checkpoint)
    manifest = json.loads(metadata[checkpoints.KEY])
    old = {**manifest, "branches": manifest["heads"], "format_version": 1}
    del old["heads"]
    rewrite(checkpoint, {**tensors, "references.e0_DZ": -tensors["references.e0_DZ"]}, old, sealed=True)

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
    with pytest.raises(ValueError, match="golden structure 0 .* not finite"):
        save_checkpoint(tmp_path / "model.safetensors", potential, manifest)
    assert not list(tmp_path.iterdir())
