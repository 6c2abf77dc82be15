"""Graphs, potentials and checkpoints."""
