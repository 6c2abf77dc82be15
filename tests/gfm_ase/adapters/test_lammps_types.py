"""LAMMPS's atom types; needs no LAMMPS."""

from ase import Atoms

from gfm_ase.adapters.lammps import atom_types


def test_isotopes_are_types_of_their_own() -> None:
    atoms = Atoms("OHHCu", masses=[15.999, 1.008, 2.014, 63.546])
    symbols, masses, types = atom_types(atoms)
    assert symbols == ["Cu", "H", "H", "O"]
    assert masses == [63.546, 1.008, 2.014, 15.999]
    assert types == [4, 2, 3, 1]
