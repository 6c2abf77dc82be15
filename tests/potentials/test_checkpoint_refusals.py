"""Files that are no whole, unchanged checkpoint: one clear sentence each, and nothing of them is run."""

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
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from potentials import checkpoint as checkpoints
from potentials.backbones.painn import PaiNN
from potentials.checkpoint import CheckpointError, load_checkpoint, read_manifest
from potentials.potential import Potential

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


@pytest.mark.parametrize("version", [4, 99, 0, -1, "1", 1.5, None, True])
def test_another_version(version: object, checkpoint: Path) -> None:
    reseal(checkpoint, lambda manifest: manifest.update(format_version=version))
    told = sentence(checkpoint)
    assert f"checkpoint format {version}" in told
    assert "reads up to 3" in told
    assert "pip install -U gfm-ase" in told


def test_an_old_manifest_that_cannot_be_upgraded(checkpoint: Path) -> None:
    def spoil(manifest: dict[str, Any]) -> None:
        manifest.update(format_version=1, potential=None)

    reseal(checkpoint, spoil)
    assert "its manifest is not one of format 1" in sentence(checkpoint)


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
