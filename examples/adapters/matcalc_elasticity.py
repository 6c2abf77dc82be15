"""matcalc drives our calculator: relaxation and elastic tensor; needs `pip install matcalc`.

    python matcalc_elasticity.py example_01/run/model.safetensors

The checkpoint is that of 01_train_to_md.py: copper and gold.
"""

import sys

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from matcalc import ElasticityCalc, RelaxCalc
from pymatgen.io.ase import AseAtomsAdaptor

from gfm_ase import GFMCalculator


def main() -> None:
    """Gold, by the potential and by the EMT it has learnt."""
    start = AseAtomsAdaptor.get_structure(bulk("Au", a=4.1, cubic=True))
    found = {}
    for name, calculator in (("gfm", GFMCalculator(sys.argv[1])), ("EMT", EMT())):
        relaxed = RelaxCalc(calculator, fmax=0.01, relax_cell=True).calc(start)
        elastic = ElasticityCalc(calculator, fmax=0.01, units_GPa=True).calc(start)
        tensor = np.array(elastic["elastic_tensor"].voigt)
        found[name] = (float(relaxed["a"]), float(elastic["bulk_modulus_vrh"]))
        print(
            f"{name}: a = {relaxed['a']:.3f} Å, bulk modulus {found[name][1]:.0f} GPa,"
            f" C11 {tensor[0, 0]:.0f}, C12 {tensor[0, 1]:.0f}, C44 {tensor[3, 3]:.0f} GPa"
        )
    assert abs(found["gfm"][0] - found["EMT"][0]) < 0.05
    assert abs(found["gfm"][1] / found["EMT"][1] - 1) < 0.5


if __name__ == "__main__":
    main()
