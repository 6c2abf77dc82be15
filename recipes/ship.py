"""Put a checkpoint into the package: python recipes/ship.py runs/foundation/model.safetensors gfm1

Weights stay as they are; of the paths in its run file the names are kept: folders of one machine tell nobody anything.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from potentials.checkpoint import save_changed
from potentials.manifest import Manifest
from potentials.models.registry import MODELS


def without_folders(value: Any) -> Any:
    """The same settings with absolute paths cut to their names."""
    if isinstance(value, dict):
        return {key: without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one) for one in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def main(checkpoint: str, name: str) -> None:
    """Write the file of the model `name`."""

    def shipped(manifest: Manifest) -> Manifest:
        return Manifest.model_validate(without_folders(manifest.model_dump()))

    save_changed(MODELS[name].path, checkpoint, shipped)
    print(f"{MODELS[name].path}: {MODELS[name].path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
