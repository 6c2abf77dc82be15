"""Joules that a training uses: counters where there are some, an estimate that is called one where there are none."""
