"""Labelling: structures in, their energies, forces and stresses by a reference calculator out."""
