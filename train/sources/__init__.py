"""Public data sets in the layouts that their makers publish them in."""
