"""Which weights a word of a run file means: parts of the potential, names of parameters, beginnings of names."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from potentials.potential import Potential
from train.config_errors import near

WORDS = ("backbone", "heads", "embeddings")
"""Words that are no names: the message passing with its charge and spin, all heads and outputs, vectors of elements."""


def chosen(potential: Potential, words: Sequence[str], key: str) -> list[str]:
    """Names of the parameters that words mean, in the order of the potential.

    Args:
        potential: whose they are.
        words: of `WORDS`, names, or beginnings of names up to a dot.
        key: of the run file, for messages.

    Raises:
        ValueError: a word that means none.
    """
    names = [name for name, _ in potential.named_parameters()]
    found: set[str] = set()
    for word in words:
        meant = [name for name in names if _means(word, name)]
        if not meant:
            parts = {".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2)}
            short = sorted(part for part in parts if part.count(".") == 1)
            close = near(word, [*WORDS, *sorted(parts)])
            raise ValueError(
                f"{key}: {word!r} is no part of this potential{close or '; there is ' + ', '.join([*WORDS, *short])}"
            )
        found.update(meant)
    return [name for name in names if name in found]


def freeze(potential: Potential, words: Sequence[str]) -> None:
    """Take the weights that words mean out of what is learnt.

    Raises:
        ValueError: a word that means none; nothing is left.
    """
    for name in chosen(potential, words, "fine_tune.freeze"):
        potential.get_parameter(name).requires_grad_(False)
    if not any(weight.requires_grad for weight in potential.parameters()):
        raise ValueError(f"fine_tune.freeze = {list(words)} leaves nothing to learn; take something out of it")


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that are learnt, by name."""
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def _means(word: str, name: str) -> bool:
    parts = name.split(".")
    if word == "backbone":
        return parts[0] in {"backbone", "context"}
    if word == "heads":
        return parts[0] in {"branches", "outputs"}
    if word == "embeddings":
        return "embedding" in parts
    return name == word or name.startswith(f"{word}.")
