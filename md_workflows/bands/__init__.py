"""Minimum energy paths by nudged elastic bands: all images of all bands go through the engine together."""

from md_workflows.bands.search import NEBResult, NEBSettings, neb, neb_many

__all__ = ["NEBResult", "NEBSettings", "neb", "neb_many"]
