"""One safe file per potential: safetensors with a JSON manifest. No pickle, no code, strict, checked at load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from potentials.calibration import HeadCalibration
from potentials.durable import replaced
from potentials.ensemble import AnyPotential, Ensemble
from potentials.manifest import DTYPES, FORMAT_VERSION, Manifest, golden_structure
from potentials.models.registry import find_checkpoint, model_names
from potentials.potential import Potential, PotentialConfig

KEY = "gfm_ase"
DIGEST = "gfm_ase_sha256"

ZIP = b"PK\x03\x04"
"""How torch's packages begin: programs, and pickles too."""

GOLDEN_TOLERANCE = 1e-7
"""eV, eV/Å, eV/Å³ per unit of the largest golden value: far above float64's rounding, far below a changed weight."""

Content = tuple[dict[str, Any], dict[str, Tensor]]
"""Manifest as JSON has it, and tensors."""


def _without_outputs(content: Content) -> Content:
    """Format 1 knew energy, forces and stress alone."""
    manifest, tensors = content
    potential = {**manifest["potential"], "outputs": []}
    golden = [{**one, "outputs": {}} for one in manifest["golden"]]
    return {**manifest, "format_version": 2, "potential": potential, "golden": golden}, tensors


def _without_members(content: Content) -> Content:
    """Format 2 knew single potentials alone, without uncertainties."""
    manifest, tensors = content
    return {**manifest, "format_version": 3, "members": [], "calibration": {}}, tensors


UPGRADES: dict[int, Callable[[Content], Content]] = {1: _without_outputs, 2: _without_members}
"""Version to the function that makes the next version of it. Never removed: every file ever written stays readable."""


class CheckpointError(ValueError):
    """A file that is not a whole, unchanged checkpoint of a version known here. The message is one sentence."""


def save_checkpoint(path: Path | str, potential: AnyPotential, manifest: Manifest) -> None:
    """Write a potential; the file is complete under its name or not there at all.

    Args:
        path: usually `*.safetensors`.
        potential: its weights and references are written in the dtype they have.
        manifest: see `potentials.manifest.describe`.

    Raises:
        ValueError: a weight, or what a golden structure gives, is not finite.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in _state(potential).items()}
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"weight {name} is not finite; a potential like this is not written")
    for index, golden in enumerate(manifest.golden):
        if not np.isfinite([golden.energy, *np.ravel(golden.forces), *map(np.sum, golden.outputs.values())]).all():
            raise ValueError(
                f"energy, forces or outputs of golden structure {index} are not finite; this potential is not written"
            )
    text = manifest.model_dump_json()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as beside:
        save_file(tensors, beside, metadata={KEY: text, DIGEST: _digest(text, tensors)})
        beside.chmod(0o644)


def read_manifest(path: Path | str) -> Manifest:
    """The manifest alone, upgraded to today's version; a path or a model's name, errors as in `load_checkpoint`."""
    path = find_checkpoint(path)
    return _parse(path, _upgrade(path, _read(path))[0])


def load_checkpoint(path: Path | str) -> tuple[AnyPotential, Manifest]:
    """The potential or ensemble of a file, on the CPU, in evaluation mode, after its golden structures have agreed.

    Args:
        path: of the file, or the name of a model that comes with the package (`potentials.models.registry`).

    Raises:
        MissingModelError: a name whose file is not in this installation.
        CheckpointError: no such file, truncated, foreign, changed since it was written, of a newer version, weights
            that do not fit the configuration, or golden structures that come out differently here.
    """
    path = find_checkpoint(path)
    content, tensors = _upgrade(path, _read(path))
    manifest = _parse(path, content)
    potential: AnyPotential
    if manifest.members:
        _check_owned(path, tensors, len(manifest.members))
        members = [
            _single(path, record.potential, manifest.dtype, _of_member(tensors, number))
            for number, record in enumerate(manifest.members)
        ]
        try:
            potential = Ensemble(members, [record.name for record in manifest.members])
        except ValueError as error:
            raise CheckpointError(f"{path}: its members make no ensemble ({error})") from None
    else:
        potential = _single(path, manifest.potential, manifest.dtype, tensors)
    potential = potential.eval().requires_grad_(requires_grad=False)
    _check_golden(path, potential, manifest)
    return potential, manifest


def load_single(path: Path | str) -> tuple[Potential, Manifest]:
    """As `load_checkpoint`, for what takes one potential.

    Raises:
        CheckpointError: as there, and a file that holds an ensemble.
    """
    potential, manifest = load_checkpoint(path)
    if isinstance(potential, Ensemble):
        raise CheckpointError(
            f"{path}: holds an ensemble of {potential.size}; this takes the checkpoint of a single run"
        )
    return potential, manifest


def _single(path: Path | str, config: PotentialConfig, dtype: str, tensors: dict[str, Tensor]) -> Potential:
    potential = Potential(config).to(DTYPES[dtype])  # before: float32 would round float64 weights
    for name, value in potential.state_dict().items():
        if name in tensors and tensors[name].dtype != value.dtype:
            was, wanted = (str(dtype).removeprefix("torch.") for dtype in (tensors[name].dtype, value.dtype))
            raise CheckpointError(f"{path}: {name} is {was} instead of {wanted}; the file is damaged, copy it again")
    try:
        potential.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: its weights do not fit its own configuration ({first})") from None
    return potential


def _state(potential: AnyPotential) -> dict[str, Tensor]:
    """Tensors by the names that the file has: those of members begin with their number."""
    if isinstance(potential, Potential):
        return potential.state_dict()
    members = enumerate(potential.members())
    return {f"{number}.{name}": value for number, member in members for name, value in member.state_dict().items()}


def _of_member(tensors: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    start = f"{number}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _check_owned(path: Path | str, tensors: dict[str, Tensor], n_members: int) -> None:
    numbers = {str(number) for number in range(n_members)}
    stray = sorted(name for name in tensors if name.partition(".")[0] not in numbers)
    if stray:
        raise CheckpointError(f"{path}: {stray[0]} belongs to none of its {n_members} members; the file is damaged")


def save_calibrated(path: Path | str, checkpoint: Path | str, head: str, calibration: HeadCalibration) -> None:
    """Write a checkpoint again, its weights as they are, with the calibration of one head; those of others stay.

    Args:
        path, checkpoint: as `save_changed`.
        head: whose calibration it is.
        calibration: see `train.calibration`.

    Raises:
        CheckpointError: as `read_manifest`.
    """

    def calibrated(manifest: Manifest) -> Manifest:
        assert head in manifest.heads, head
        return manifest.model_copy(update={"calibration": {**manifest.calibration, head: calibration}})

    save_changed(path, checkpoint, calibrated)


def save_changed(path: Path | str, checkpoint: Path | str, change: Callable[[Manifest], Manifest]) -> None:
    """Write a checkpoint again, its weights as they are and its manifest changed.

    Args:
        path: to write; complete under its name or not there at all. It may be the checkpoint itself.
        checkpoint: to read.
        change: of the manifest, upgraded to today's version.

    Raises:
        CheckpointError: as `read_manifest`.
    """
    checkpoint = find_checkpoint(checkpoint)
    content, tensors = _upgrade(checkpoint, _read(checkpoint))
    text = change(_parse(checkpoint, content)).model_dump_json()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as beside:
        save_file(tensors, beside, metadata={KEY: text, DIGEST: _digest(text, tensors)})
        beside.chmod(0o644)


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def _read(path: Path | str) -> Content:
    """Manifest and tensors as they were written."""
    if Path(path).is_dir():
        raise CheckpointError(f"{path}: this is a folder; name the checkpoint in it")
    if not Path(path).is_file():
        hint = "" if Path(path).suffix else f"; models that come with the package: {model_names()}"
        raise CheckpointError(f"{path}: there is no such file{hint}")
    with Path(path).open("rb") as start:
        if start.read(4) == ZIP:
            raise CheckpointError(
                f"{path}: not a checkpoint but a package with code in it, as `gfm-ase export` makes; who trusts"
                " its maker has GFMCalculator.from_export()"
            )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, OSError, ValueError):
        raise CheckpointError(
            f"{path}: not a checkpoint, or a truncated one: it cannot be read as a safetensors file; copy it again"
        ) from None
    if KEY not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not of gfm-ase: it has no {KEY!r} manifest")
    try:
        content = json.loads(metadata[KEY])
        version = content["format_version"]
    except (ValueError, TypeError, KeyError):
        raise CheckpointError(f"{path}: its manifest is not readable; the file is damaged, copy it again") from None
    if type(version) is not int or version < 1 or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: checkpoint format {version}; this gfm-ase reads up to {FORMAT_VERSION}: pip install -U gfm-ase"
        )
    if metadata.get(DIGEST) != _digest(metadata[KEY], tensors):
        raise CheckpointError(f"{path}: changed since it was written (its SHA-256 differs); get the original file")
    return content, tensors


def _upgrade(path: Path | str, content: Content) -> Content:
    while (version := content[0]["format_version"]) < FORMAT_VERSION:
        assert version in UPGRADES, f"{path}: no upgrade from format {version}"
        try:
            content = UPGRADES[version](content)
        except (KeyError, TypeError):
            raise CheckpointError(f"{path}: its manifest is not one of format {version}; copy the file again") from None
    return content


def _parse(path: Path | str, content: dict[str, Any]) -> Manifest:
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path}: its manifest is not valid at {where}: {first['msg']}") from None


def _check_golden(path: Path | str, potential: AnyPotential, manifest: Manifest) -> None:
    for index, golden in enumerate(manifest.golden):
        try:
            again = golden_structure(potential, golden.atoms(), golden.head)
        except ValueError as error:
            raise CheckpointError(f"{path}: golden structure {index} cannot be computed ({error})") from None
        for name in ("energy", "forces", "stress", *again.outputs):
            was, now = (getattr(one, name, one.outputs.get(name)) for one in (golden, again))
            if was is None and now is None:
                continue
            expected, found = np.asarray(was, dtype=np.float64), np.asarray(now, dtype=np.float64)
            allowed = GOLDEN_TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0)))
            if expected.shape != found.shape or not np.allclose(found, expected, rtol=0.0, atol=allowed):
                difference = float(np.abs(found - expected).max()) if expected.shape == found.shape else float("nan")
                raise CheckpointError(
                    f"{path}: golden structure {index} gives another {name} here than when it was saved (by"
                    f" {difference:.1e}); it was made with {manifest.made_with}: use those versions or report this"
                )
