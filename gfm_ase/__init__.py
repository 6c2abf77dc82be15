"""The ASE side of gfm-ase: a checkpoint becomes `atoms.calc`.

`from gfm_ase import GFMCalculator, load` are the names that most users need. They are fetched at first
use: `import gfm_ase` by itself does not import torch, so that `gfm-ase --help` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gfm_ase._rooms import check_rooms
from gfm_ase._version import __version__

if TYPE_CHECKING:
    from gfm_ase.calculator import GFMCalculator
    from gfm_ase.loading import load, load_export
    from gfm_ase.outside import OutsideDataWarning

__all__ = ["GFMCalculator", "OutsideDataWarning", "__version__", "load", "load_export"]

_LAZY = {
    "GFMCalculator": "gfm_ase.calculator",
    "OutsideDataWarning": "gfm_ase.outside",
    "load": "gfm_ase.loading",
    "load_export": "gfm_ase.loading",
}

check_rooms()


def __getattr__(name: str) -> object:
    """Import an exported name at its first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'gfm_ase' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
