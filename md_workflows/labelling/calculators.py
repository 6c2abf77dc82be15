"""Which calculator labels: by a name of ours, or by what the user says makes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from typing import Any

from ase import Atoms

from md_workflows.labelling.named import named_calculator, parsed_settings

Make = Callable[[Atoms], Any]
"""The calculator for one structure: of its charge and spin."""


@dataclass(frozen=True)
class CalculatorSpec:
    """A calculator in words, which can be sent to a worker.

    name: xtb, emt, or module:callable, whose code is run · settings: KEY=VALUE, arguments of what makes it.
    """

    name: str
    settings: tuple[str, ...] = ()

    def build(self) -> Make:
        """What gives the calculator of each structure.

        Raises:
            ValueError: no such calculator, a library that is not installed, settings that it does not take.
        """
        if self.name in CALCULATORS:
            return CALCULATORS[self.name](parsed_settings(self.settings))
        if ":" not in self.name:
            raise ValueError(
                f"--calculator {self.name} is not known; there are {', '.join(CALCULATORS)}, and module:callable"
            )
        calculator = named_calculator(self.name, self.settings)
        return lambda _: calculator

    @property
    def version(self) -> str:
        """The distribution that the calculator is of, and its version; "unknown" where nothing installed it."""
        module = MODULES.get(self.name, self.name.partition(":")[0]).partition(".")[0]
        for distribution in packages_distributions().get(module, ()):
            try:
                return f"{distribution} {version(distribution)}"
            except PackageNotFoundError:
                continue
        return "unknown"

    @property
    def words(self) -> str:
        """Name and settings, as on the command line."""
        return " ".join((self.name, *self.settings))

    @property
    def identity(self) -> str:
        """Text that changes whenever the labels would."""
        return f"label {json.dumps([self.name, sorted(self.settings), self.version])}"


def _xtb(settings: Mapping[str, Any]) -> Make:
    """tblite's GFN2-xTB, or what `method` says, of the charge and the unpaired electrons in atoms.info."""
    if find_spec("tblite") is None:
        raise ValueError("--calculator xtb needs tblite: pip install 'gfm-ase[labels]'")
    from tblite.ase import TBLite

    taken = {"charge", "multiplicity"} & set(settings)
    if taken:
        raise ValueError(
            f"--set {taken.pop()}: xtb takes charge and spin (unpaired electrons) of each structure from atoms.info"
        )
    unknown = set(settings) - set(TBLite.default_parameters)
    if unknown:
        raise ValueError(
            f"--set {unknown.pop()}: xtb does not take it; it takes {', '.join(TBLite.default_parameters)}"
        )

    def make(atoms: Atoms) -> Any:
        charge, spin = (_whole(atoms, name) for name in ("charge", "spin"))
        electrons = int(atoms.numbers.sum()) - (charge or 0)
        if spin is not None and (electrons - spin) % 2:  # tblite takes one unpaired electron for none, in silence
            raise ValueError(f"atoms.info['spin'] is {spin}, and of {electrons} electrons so many cannot be unpaired")
        state = {} if charge is None else {"charge": charge}
        state |= {} if spin is None else {"multiplicity": spin + 1}
        # nothing is kept from structure to structure: a label must not depend on the one before
        return TBLite(**{"method": "GFN2-xTB", "verbosity": 0, "cache_api": False, **settings, **state})

    return make


def _check_settings(name: str, settings: Mapping[str, Any], taken: Mapping[str, Any]) -> None:
    unknown = sorted(set(settings) - set(taken))
    if unknown:
        raise ValueError(f"--set {unknown[0]}: {name} does not take it; it takes {', '.join(taken)}")


def _whole(atoms: Atoms, name: str) -> int | None:
    given = atoms.info.get(name)
    if given is None:
        return None
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = 0.5
    if value != round(value):
        raise ValueError(f"atoms.info[{name!r}] is {given!r}; xtb wants a whole number")
    return round(value)


def _emt(settings: Mapping[str, Any]) -> Make:
    """ASE's effective medium theory; it knows neither charge nor spin."""
    from ase.calculators.emt import EMT

    _check_settings("emt", settings, EMT.default_parameters)

    def make(atoms: Atoms) -> Any:
        for name in ("charge", "spin"):
            if float(atoms.info.get(name, 0.0)):
                raise ValueError(f"atoms.info[{name!r}] is {atoms.info[name]!r}, and emt knows no {name}")
        return EMT(**settings)

    return make


CALCULATORS: dict[str, Callable[[Mapping[str, Any]], Make]] = {"xtb": _xtb, "emt": _emt}
"""Calculators with a name of their own: settings to what gives the calculator of a structure."""

MODULES = {"xtb": "tblite", "emt": "ase"}
"""The module, of which the version is told, of each of these."""
