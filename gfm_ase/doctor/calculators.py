"""What a calculator tells of itself, and how one is found by its name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ase.data import chemical_symbols

from md_workflows.structures import one_line


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


def named_calculator(name: str, settings: Sequence[str] = ()) -> Any:
    """The calculator of `module:callable`, called with `KEY=VALUE` settings.

    Values are JSON where they can be (2.5, true, [1, 2]), else words.

    Raises:
        ValueError: not of that form, nothing of that name, or it cannot be made so.
    """
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise ValueError(f"--calculator {name} is not of the form module:callable, such as ase.calculators.emt:EMT")
    try:
        made: Any = import_module(module)
        for part in path.split("."):
            made = getattr(made, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"--calculator {name} is not there ({one_line(error)}); install it, or mend the name"
        ) from error
    try:
        calculator = made(**dict(_setting(text) for text in settings))
    except Exception as error:
        raise ValueError(f"--calculator {name} cannot be made ({one_line(error)}); see --set KEY=VALUE") from error
    if not hasattr(calculator, "get_potential_energy"):
        kind = type(calculator).__name__
        raise ValueError(f"--calculator {name} gives a {kind}, which is no ASE calculator; name what makes one")
    return calculator


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key.isidentifier() and equals):
        raise ValueError(f"--set {text} is not of the form KEY=VALUE, such as device=cpu")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
