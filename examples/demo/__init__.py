"""The demo: two levels of theory, one potential, one report."""
