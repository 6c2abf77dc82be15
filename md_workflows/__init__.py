"""Molecular dynamics, relaxation and screening with any ASE calculator.

The doors are `run_md`, `relax`, `relax_many`, `screen` and `neb`; each takes a validated settings object and
returns frozen results. Importing this package is cheap: ASE's optimizers and integrators are loaded at first use,
torch never.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from md_workflows.bands import NEBResult, NEBSettings, neb, neb_many
    from md_workflows.batch_files import BatchFiles
    from md_workflows.batched.engine import BatchedEngine
    from md_workflows.cell import CellSettings
    from md_workflows.engine import ASEEngine, Engine, Outcome, engine_for, evaluate_many, relax_many
    from md_workflows.ensembles import (
        NPT,
        NVE,
        Bussi,
        EnsembleSettings,
        Langevin,
        NoseHooverChain,
        NPTIsotropic,
        NPTLangevin,
        NPTLangevinIsotropic,
    )
    from md_workflows.h5_frames import H5Writer, read_h5
    from md_workflows.integrators import ENSEMBLES, why_not_ase
    from md_workflows.md import EnergySummary, MDResult, MDSettings, run_md
    from md_workflows.md_files import MDFiles
    from md_workflows.md_guard import MDStoppedError
    from md_workflows.md_guards import MDGuards
    from md_workflows.md_many import MDOutcome, replicated, run_md_many
    from md_workflows.progress import progress_bar
    from md_workflows.properties import PROPERTIES
    from md_workflows.ramps import Ramp
    from md_workflows.relaxation import OPTIMIZERS, RelaxResult, RelaxSettings, StopReason, relax
    from md_workflows.screening.executors import EXECUTORS, open_pool
    from md_workflows.screening.outputs import ScreenFiles
    from md_workflows.screening.rows import ScreenRow, Status
    from md_workflows.screening.run import ScreenResult, ScreenSettings, screen
    from md_workflows.screening.stages import Asked
    from md_workflows.screening.workers import Spread
    from md_workflows.settings import parse_settings
    from md_workflows.structures import (
        Unreadable,
        check_writable,
        read_structure,
        read_structures,
        structure_hash,
        write_structure,
    )
    from md_workflows.uncertainty import UncertaintyPolicy, uncertainties_of

_HOME = {
    "ASEEngine": "engine",
    "Asked": "screening.stages",
    "BatchedEngine": "batched.engine",
    "Bussi": "ensembles",
    "BatchFiles": "batch_files",
    "CellSettings": "cell",
    "ENSEMBLES": "integrators",
    "EXECUTORS": "screening.executors",
    "EnergySummary": "md",
    "Engine": "engine",
    "EnsembleSettings": "ensembles",
    "Langevin": "ensembles",
    "H5Writer": "h5_frames",
    "MDFiles": "md_files",
    "MDGuards": "md_guards",
    "MDOutcome": "md_many",
    "MDResult": "md",
    "MDSettings": "md",
    "MDStoppedError": "md_guard",
    "NEBResult": "bands",
    "NEBSettings": "bands",
    "NPT": "ensembles",
    "NPTIsotropic": "ensembles",
    "NPTLangevin": "ensembles",
    "NPTLangevinIsotropic": "ensembles",
    "NVE": "ensembles",
    "NoseHooverChain": "ensembles",
    "OPTIMIZERS": "relaxation",
    "Outcome": "engine",
    "PROPERTIES": "properties",
    "Ramp": "ramps",
    "RelaxResult": "relaxation",
    "RelaxSettings": "relaxation",
    "ScreenFiles": "screening.outputs",
    "ScreenResult": "screening.run",
    "ScreenRow": "screening.rows",
    "ScreenSettings": "screening.run",
    "Spread": "screening.workers",
    "Status": "screening.rows",
    "StopReason": "relaxation",
    "UncertaintyPolicy": "uncertainty",
    "Unreadable": "structures",
    "check_writable": "structures",
    "engine_for": "engine",
    "evaluate_many": "engine",
    "neb": "bands",
    "neb_many": "bands",
    "open_pool": "screening.executors",
    "parse_settings": "settings",
    "progress_bar": "progress",
    "read_h5": "h5_frames",
    "read_structure": "structures",
    "read_structures": "structures",
    "relax": "relaxation",
    "relax_many": "engine",
    "replicated": "md_many",
    "run_md": "md",
    "run_md_many": "md_many",
    "screen": "screening.run",
    "structure_hash": "structures",
    "uncertainties_of": "uncertainty",
    "why_not_ase": "integrators",
    "write_structure": "structures",
}

__all__ = [
    "ENSEMBLES",
    "EXECUTORS",
    "NPT",
    "NVE",
    "OPTIMIZERS",
    "PROPERTIES",
    "ASEEngine",
    "Asked",
    "BatchFiles",
    "BatchedEngine",
    "Bussi",
    "CellSettings",
    "EnergySummary",
    "Engine",
    "EnsembleSettings",
    "H5Writer",
    "Langevin",
    "MDFiles",
    "MDGuards",
    "MDOutcome",
    "MDResult",
    "MDSettings",
    "MDStoppedError",
    "NEBResult",
    "NEBSettings",
    "NPTIsotropic",
    "NPTLangevin",
    "NPTLangevinIsotropic",
    "NoseHooverChain",
    "Outcome",
    "Ramp",
    "RelaxResult",
    "RelaxSettings",
    "ScreenFiles",
    "ScreenResult",
    "ScreenRow",
    "ScreenSettings",
    "Spread",
    "Status",
    "StopReason",
    "UncertaintyPolicy",
    "Unreadable",
    "check_writable",
    "engine_for",
    "evaluate_many",
    "neb",
    "neb_many",
    "open_pool",
    "parse_settings",
    "progress_bar",
    "read_h5",
    "read_structure",
    "read_structures",
    "relax",
    "relax_many",
    "replicated",
    "run_md",
    "run_md_many",
    "screen",
    "structure_hash",
    "uncertainties_of",
    "why_not_ase",
    "write_structure",
]


def __getattr__(name: str) -> object:
    """Import the module that holds the public name `name` when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'md_workflows' has no attribute {name!r}")
    return getattr(import_module(f"md_workflows.{_HOME[name]}"), name)
