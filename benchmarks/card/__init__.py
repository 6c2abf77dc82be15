"""The parts of a model card: each measures, writes a section of the page, and draws."""
