"""The reporters by name, and how one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from md_workflows.analysis.rdf import RDF, RDFSettings
from md_workflows.analysis.reporter import Reporter, ReporterSettings
from md_workflows.analysis.scalars import Energy, Pressure, Temperature, Uncertainty
from md_workflows.analysis.transport import MSD, VACF, MSDSettings, VACFSettings
from md_workflows.settings import parse_settings

REPORTERS: dict[str, tuple[type[ReporterSettings], Callable[[Any], Reporter]]] = {
    "temperature": (ReporterSettings, Temperature),
    "energy": (ReporterSettings, Energy),
    "pressure": (ReporterSettings, Pressure),
    "rdf": (RDFSettings, RDF),
    "msd": (MSDSettings, MSD),
    "vacf": (VACFSettings, VACF),
    "uncertainty": (ReporterSettings, Uncertainty),
}

Wish: TypeAlias = str | Mapping[str, Any]
"""A reporter's name, or a mapping of its name and settings: {"name": "rdf", "cutoff": 6.0}."""


def reporter_settings(wish: Wish) -> tuple[str, ReporterSettings]:
    """The name and the checked settings of a wish.

    Raises:
        ValueError: no such reporter or setting, or a value that is refused.
    """
    values = {"name": wish} if isinstance(wish, str) else dict(wish)
    name = str(values.pop("name", ""))
    if name not in REPORTERS:
        raise ValueError(f"there is no report {name!r}; there are {', '.join(REPORTERS)}.")
    return name, parse_settings(REPORTERS[name][0], values)


def build_reporter(wish: Wish) -> Reporter:
    """A reporter that has seen nothing yet; raises ValueError as `reporter_settings` does."""
    name, settings = reporter_settings(wish)
    return REPORTERS[name][1](settings)
