"""Speed and accuracy, measured: each prints a table. Run as modules from the root of the repository."""
