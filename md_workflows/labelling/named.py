"""A calculator by the name of what makes it, with settings as words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from md_workflows.structures import one_line


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
        calculator = made(**parsed_settings(settings))
    except Exception as error:
        raise ValueError(f"--calculator {name} cannot be made ({one_line(error)}); see --set KEY=VALUE") from error
    if not hasattr(calculator, "get_potential_energy"):
        kind = type(calculator).__name__
        raise ValueError(f"--calculator {name} gives a {kind}, which is no ASE calculator; name what makes one")
    return calculator


def parsed_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts as keyword arguments; a value is JSON where it can be.

    Raises:
        ValueError: one is not of that form.
    """
    return dict(_setting(text) for text in settings)


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key.isidentifier() and equals):
        raise ValueError(f"--set {text} is not of the form KEY=VALUE, such as device=cpu")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
