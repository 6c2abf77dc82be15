"""What a calculator tells of itself."""

from __future__ import annotations

from typing import Any

from ase.data import chemical_symbols


def known_elements(calculator: Any) -> tuple[str, ...] | None:
    """Symbols it was made for, or none where it does not tell: checkpoints of ours, EMT, and MACE do."""
    manifest = getattr(calculator, "manifest", None)
    if manifest is not None:
        return tuple(manifest.heads[calculator.head].elements)
    if type(calculator).__module__ == "ase.calculators.emt":
        from ase.calculators.emt import parameters

        return tuple(parameters)
    table = getattr(calculator, "z_table", None)
    return None if table is None else tuple(chemical_symbols[int(number)] for number in table.zs)


def told_cutoff(calculator: Any) -> float | None:
    """Å, where the calculator tells: ours, MACE, and ASE's LennardJones do."""
    potential = getattr(calculator, "potential", None)
    for found in (getattr(potential, "cutoff", None), getattr(calculator, "r_max", None)):
        if found is not None:
            return float(found)
    if type(calculator).__module__ == "ase.calculators.lj":
        rc = calculator.parameters.rc
        return float(3 * calculator.parameters.sigma if rc is None else rc)
    return None


def in_words(calculator: Any) -> str:
    """Its class, and its module where it is not ours."""
    kind = type(calculator)
    return str(kind.__name__) if kind.__module__.startswith("gfm_ase.") else f"{kind.__module__}.{kind.__qualname__}"
