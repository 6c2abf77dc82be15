"""Properties of many structures, each computed with an engine that works on many at once."""

from md_workflows.properties.adsorption import ADSORPTION
from md_workflows.properties.base import Column, Measured, Property
from md_workflows.properties.elastic import ELASTIC
from md_workflows.properties.eos import EOS
from md_workflows.properties.formation import FORMATION
from md_workflows.properties.hull import HULL, hull
from md_workflows.properties.phonon import PHONON
from md_workflows.properties.surface import SURFACE
from md_workflows.properties.vacancy import VACANCY

PROPERTIES: dict[str, Property] = {
    "formation_energy": FORMATION,
    "energy_above_hull": HULL,
    "elastic": ELASTIC,
    "eos": EOS,
    "phonon": PHONON,
    "vacancy": VACANCY,
    "surface": SURFACE,
    "adsorption": ADSORPTION,
}
"""By the names that a screening takes."""

__all__ = ["PROPERTIES", "Column", "Measured", "Property", "hull"]
