"""ASE's command line with our calculator: what `ase run` does, with a calculator called "gfm".

    python -m gfm_ase.adapters.ase_command run gfm copper.cif -p checkpoint=model.safetensors,head=emt -f 0.02 -o out.db

ASE 3.29 finds calculators of other packages by registration in the process alone, not by entry points.
"""

from __future__ import annotations

from typing import Any

from ase.calculators.calculator import external_calculators, register_calculator_class

from gfm_ase.adapters.ase_database import checkpoint_keys
from gfm_ase.calculator import GFMCalculator

NAME = "gfm"


class NamedCalculator(GFMCalculator):
    """`GFMCalculator` as ASE's command line makes it: of key-value pairs, without a label.

    Args:
        checkpoint: the file.
        settings: of `GFMCalculator`.
    """

    name = NAME
    nolabel = True

    def __init__(self, checkpoint: str, **settings: Any) -> None:
        super().__init__(checkpoint, **settings)
        self.parameters.update(
            checkpoint_keys(checkpoint, self.chosen_head())
        )  # what ASE's databases keep of a calculator


def register() -> None:
    """Make the name "gfm" known to ASE in this process; a second call changes nothing."""
    if NAME not in external_calculators:
        register_calculator_class(NAME, NamedCalculator)


def main(arguments: list[str] | None = None) -> None:
    """ASE's command line."""
    from ase.cli.main import main as ase_main

    register()
    ase_main(args=arguments)


if __name__ == "__main__":
    main()
