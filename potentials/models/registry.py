"""Which models come with the package: the one table of their names, files, data and heads.

Where a checkpoint is asked for, the name of a model in `MODELS` may be given in the place of a path. A file of that
very name in the working folder is meant before it: paths stay paths.
"""

from __future__ import annotations

from pathlib import Path

from potentials.models.gfm1 import GFM1
from potentials.models.shipped import ShippedModel

MODELS: dict[str, ShippedModel] = {GFM1.name: GFM1}

DEFAULT = "gfm1"
"""What is meant where no checkpoint is named."""


class MissingModelError(ValueError):
    """A model of the table whose file is not in this installation."""


def shipped(checkpoint: Path | str) -> ShippedModel | None:
    """The model whose name is given where a checkpoint is asked for; none where a path is."""
    name = str(checkpoint)
    return None if Path(name).is_file() else MODELS.get(name)


def find_checkpoint(checkpoint: Path | str) -> Path:
    """The file that is meant: a path as it is, the file of a model for the name of one.

    Raises:
        MissingModelError: the name of a model whose file is not in this installation.
    """
    model = shipped(checkpoint)
    return Path(checkpoint) if model is None else model_file(model)


def model_file(model: ShippedModel) -> Path:
    """The checkpoint of a model; raises MissingModelError where this installation lacks it."""
    if not model.path.is_file():
        raise MissingModelError(
            f"the file of the model {model.name!r} is not in this installation ({model.path}); install gfm-ase again,"
            " or name a checkpoint of your own"
        )
    return model.path


def beside(checkpoint: Path | str, name: str) -> Path:
    """Where a file that is made of a checkpoint goes unless it is said: beside it, of a shipped model to here."""
    return Path(name) if shipped(checkpoint) is not None else Path(checkpoint).with_name(name)


def model_names() -> str:
    """Those of the models, for messages."""
    return ", ".join(MODELS)
