"""What `benchmarks.matcalc_row` measures: the lists of the MatCalc benchmark, each by its own protocol."""
