"""States to restart from as files: a manifest in JSON and arrays, one .npz file, no pickle inside."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from md_workflows.durable import write_beside

UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile)
"""What reading a file raises that is none of ours, or is cut short."""


def write_state(path: Path, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write beside and rename; the manifest has "format" and "version"."""

    def write(handle: IO[bytes]) -> None:
        np.savez(handle, allow_pickle=False, manifest=np.array(json.dumps(manifest)), **arrays)

    write_beside(path, write)


def read_state(path: Path, kind: str, version: int, called: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The manifest and the arrays of a file of this format and version.

    Raises:
        ValueError: the file is none (`called` says of what), is cut short, or is of another version.
    """
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            manifest = json.loads(str(stored["manifest"]))
            arrays = {name: stored[name] for name in stored.files if name != "manifest"}
        if manifest["format"] != kind:
            raise ValueError("another format")
        found = manifest["version"]
    except UNREADABLE as error:
        raise unreadable(path, called, error) from error
    if found != version:
        raise ValueError(
            f"{path} is a state of version {found}, this program reads version {version}; "
            "continue it with the program that wrote it."
        )
    return manifest, arrays


def unreadable(path: Path, called: str, error: Exception) -> ValueError:
    """What is said of a file that cannot be read."""
    return ValueError(f"{path} is not a readable {called} ({error}); start again with on_existing='overwrite'.")
