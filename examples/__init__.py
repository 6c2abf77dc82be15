"""The numbered examples, and the demo that `make demo` runs."""
