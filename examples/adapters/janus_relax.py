"""janus-core drives our calculator: relaxation and equation of state; needs `pip install janus-core`.

    python janus_relax.py example_01/run/model.safetensors

The checkpoint is that of 01_train_to_md.py: copper and gold.
"""

import sys

from ase.build import bulk
from janus_core.calculations.eos import EoS
from janus_core.calculations.geom_opt import GeomOpt
from janus_core.calculations.single_point import SinglePoint

from gfm_ase import GFMCalculator


def main() -> None:
    """janus takes the calculator that the atoms bring, and needs no `arch` then."""
    calculator = GFMCalculator(sys.argv[1])
    atoms = bulk("Cu", a=3.7, cubic=True)
    atoms.calc = calculator
    single = SinglePoint(struct=atoms, properties="energy").run()
    assert single["energy"] == calculator.get_property("energy", atoms)

    optimised = GeomOpt(struct=atoms, fmax=0.01)
    optimised.run()
    length = float(optimised.struct.cell.lengths()[0])

    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.calc = calculator
    fitted = EoS(struct=atoms, n_volumes=7, minimize=False).run()
    by_volumes = float(fitted["v_0"]) ** (1 / 3)
    print(f"a = {length:.3f} Å by relaxation, {by_volumes:.3f} Å by the equation of state (EMT: 3.590 Å)")
    print(f"bulk modulus {fitted['bulk_modulus']:.0f} GPa")
    assert abs(length - by_volumes) < 0.02


if __name__ == "__main__":
    main()
