"""Doors to other programs: each file speaks to one, and imports it at its own import alone.

`gfm_ase.adapters.torch_sim`, `.ipi`, `.sockets`, `.openmm`, `.lammps`, `.ase_command`, `.ase_database`; see
docs/adapters.md. What only needs an ASE calculator, such as matcalc and janus, needs no file here.
"""
