"""Importing what a user may not have."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def foreign(module: str, extra: str) -> Any:
    """A module of another program.

    Args:
        module: its name, as Python has it.
        extra: the extra of gfm-ase that installs it.

    Raises:
        ValueError: it is not installed; the message says what installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name != package:
            raise  # it is there, and lacks something itself
        raise ValueError(f"this adapter needs {package}: pip install 'gfm-ase[{extra}]'") from None
