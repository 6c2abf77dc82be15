"""The potential in the box: which of its heads, what they say, and what it says outside of its data. Needs no data."""

from __future__ import annotations

import warnings

from ase.build import bulk, molecule
from ase.units import GPa

from gfm_ase import GFMCalculator, OutsideDataWarning
from md_workflows import MDSettings, RelaxSettings, relax, run_md


def main() -> None:
    """A head for each question."""
    # Several heads know carbon, hydrogen and oxygen: which theory is meant has to be said, and the message lists them.
    ethanol = molecule("CH3CH2OH")
    ethanol.calc = GFMCalculator()
    try:
        ethanol.get_potential_energy()
    except ValueError as error:
        print(f"without a head: {error}\n")

    # One head alone knows rock salt: the structure chooses it.
    salt = bulk("NaCl", "rocksalt", a=5.6)
    salt.calc = GFMCalculator()
    print(f"NaCl: {salt.get_potential_energy() / len(salt):.3f} eV/atom by the head {salt.calc.head!r}")

    silicon = bulk("Si", a=5.6)
    silicon.calc = GFMCalculator(head="pbe_metals")
    relaxed = relax(silicon, RelaxSettings(cell={}, fmax=0.01))
    a = (4 * relaxed.atoms.get_volume()) ** (1 / 3)
    print(f"Si: lattice constant {a:.3f} Å, pressure {-relaxed.atoms.get_stress()[:3].mean() / GPa:.2f} GPa")

    ethanol.calc = GFMCalculator(head="pbe_def2svp")
    settings = MDSettings(ensemble={"name": "langevin", "temperature_K": 300}, steps=200, timestep_fs=0.5)
    result = run_md(ethanol, settings)
    print(f"ethanol after 0.1 ps: {result.atoms.get_temperature():.0f} K")

    # A proton that is pulled away has surroundings that no training structure had.
    torn = molecule("CH3CH2OH")
    torn.positions[3] += 2.0
    torn.calc = GFMCalculator(head="pbe_def2svp")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torn.get_potential_energy()
    found = [str(one.message) for one in told if issubclass(one.category, OutsideDataWarning)]
    assert found, "the molecule is torn"
    print("\n".join(found))


if __name__ == "__main__":
    main()
