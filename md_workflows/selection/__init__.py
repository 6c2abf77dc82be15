"""Selection: which of many structures are worth a label, by how uncertain they are and how unlike each other."""

from md_workflows.selection.describing import Described, Describer, GeometricDescriber, ModelDescriber
from md_workflows.selection.reading import read_candidates
from md_workflows.selection.select import Choice, Selection, SelectionSettings, select

__all__ = [
    "Choice",
    "Described",
    "Describer",
    "GeometricDescriber",
    "ModelDescriber",
    "Selection",
    "SelectionSettings",
    "read_candidates",
    "select",
]
