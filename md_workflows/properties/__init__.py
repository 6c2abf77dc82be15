"""Properties of many structures, each computed with an engine that works on many at once."""
