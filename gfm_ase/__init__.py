"""The ASE side: calculator, loading and the command line."""
