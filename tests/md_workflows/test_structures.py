"""Reading structures, and telling whether two are the same."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import write

from md_workflows import Unreadable, read_structure, read_structures, structure_hash


def metal(symbol: str) -> Atoms:
    return bulk(symbol, cubic=True)


def test_structure_hash_sees_what_matters() -> None:
    hashes = set()
    for change in ("none", "positions", "cell", "pbc", "numbers", "charge", "constraint"):
        atoms = metal("Cu")
        if change == "positions":
            atoms.positions[0, 0] = np.nextafter(atoms.positions[0, 0], 9)
        if change == "cell":
            atoms.cell[0, 0] += 1e-12
        if change == "pbc":
            atoms.pbc[2] = False
        if change == "numbers":
            atoms.numbers[3] = 28
        if change == "charge":
            atoms.info["charge"] = 1
        if change == "constraint":
            atoms.set_constraint(FixAtoms([1]))
        hashes.add(structure_hash(atoms))
    assert len(hashes) == 7
    assert structure_hash(metal("Cu")) == structure_hash(metal("Cu").copy())


def test_reading_many_files(tmp_path: Path) -> None:
    many, one, broken = tmp_path / "many.extxyz", tmp_path / "one.cif", tmp_path / "broken.extxyz"
    write(many, [metal("Cu"), metal("Ag"), metal("Au")])
    write(one, metal("Ni"))
    write(broken, [metal("Cu"), metal("Ag")])
    broken.write_text("\n".join(broken.read_text().splitlines()[:-2]))
    found = list(read_structures([many, broken, one]))
    assert [name for name, _ in found][:3] == [f"{many}:{i}" for i in range(3)]
    assert [name for name, _ in found][-2:] == [f"{broken}:unreadable", f"{one}:0"]
    assert [item for _, item in found if isinstance(item, Unreadable)] == [found[-2][1]]
    formulas = {index: [a.get_chemical_formula() for _, a in read_structures([many], index)] for index in ("-1", "1:")}
    assert formulas == {"-1": ["Au4"], "1:": ["Ag4", "Au4"]}
    assert [name for name, _ in read_structures([many], "-2:")] == [f"{many}:1", f"{many}:2"]
    assert [name for name, _ in read_structures([many], "::2")] == [f"{many}:0", f"{many}:2"]
    assert read_structure(many).get_chemical_formula() == "Au4"


def test_reading_refuses(tmp_path: Path) -> None:
    path = tmp_path / "one.extxyz"
    write(path, metal("Cu"))
    strange = tmp_path / "strange.blob"
    strange.write_text("nothing")
    empty = tmp_path / "empty.cif"
    empty.write_text("data_x\n")
    for call, told in [
        (lambda: read_structures([]), "no structure file is given"),
        (lambda: read_structures([path, tmp_path / "no.cif"]), "no.cif: no such file"),
        (lambda: read_structures([path, path]), "is given more than once"),
        (lambda: read_structures([path], "first"), "index 'first' is not one"),
        (lambda: read_structure(path, 3), "has no frame 3"),
        (lambda: read_structure(strange), "of no format that ASE knows"),
        (lambda: read_structure(empty), "empty.cif"),
    ]:
        with pytest.raises(ValueError, match=told):
            call()
