"""Molecular dynamics, relaxation and screening."""
