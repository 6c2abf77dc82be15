"""`select`: from files of many structures to the few that are worth a label."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal

import numpy as np
from ase import Atoms
from pydantic import Field

from md_workflows.progress import ProgressCallback
from md_workflows.selection.describing import Described, Describer, GeometricDescriber
from md_workflows.selection.features import SIZE
from md_workflows.selection.filters import reason_against
from md_workflows.selection.picking import NEED_UNCERTAINTY, Numbers, Vectors, Wanted, pick
from md_workflows.settings import Settings
from md_workflows.structures import Structure, Unreadable

GROUP = 256
"""Structures that are in memory at once."""

Item = tuple[str, Structure]
NotNegative = Annotated[float, Field(ge=0)]


class SelectionSettings(Settings):
    """How structures are chosen.

    by: "both" (uncertainty times the distance to the nearest one chosen or known), "uncertainty", "diversity" (the
    distance alone) or "random" · min_uncertainty, max_uncertainty: eV/Å; what is outside is no candidate, for the
    largest uncertainties are often those of broken structures · closest: nor is one with atoms nearer than so many sums
    of covalent radii · apart: nor one as near as this to a chosen or known one, in units of the median distance
    between candidates · most_known: known structures that are compared with; a random choice beyond · seed: of these,
    and of "random".
    """

    by: Literal["both", "uncertainty", "diversity", "random"] = "both"
    min_uncertainty: NotNegative | None = None
    max_uncertainty: NotNegative | None = None
    closest: NotNegative = 0.6
    apart: NotNegative = 1e-3
    most_known: Annotated[int, Field(ge=1)] = 20_000
    seed: int = 0


@dataclass(frozen=True)
class Choice:
    """One that was chosen. rank: from 1 · uncertainty: eV/Å or NaN · distance: to the nearest one chosen before or
    known, in units of the median distance between candidates; infinite where there was none."""

    rank: int
    identifier: str
    uncertainty: float
    distance: float


@dataclass(frozen=True)
class Selection:
    """What came out.

    chosen: in their order · read: structures that came in · left_out: how many for which reason · errors: of the first
    that could not be read or described · identifiers, vectors [n, 256], uncertainty [n]: of the candidates · known
    [m, 256]: vectors of known structures.
    """

    chosen: tuple[Choice, ...]
    read: int
    left_out: Mapping[str, int]
    errors: tuple[str, ...]
    identifiers: tuple[str, ...]
    vectors: Vectors
    uncertainty: Numbers
    known: Vectors

    def chosen_of(self, structures: Iterable[Item]) -> list[Atoms]:
        """The chosen ones, best first, from the same stream read again: what is to be labelled.

        Results of calculators are left behind, for they are no labels; info tells `select_rank`, `uncertainty` (eV/Å)
        and `select_distance`.
        """
        wanted = {choice.identifier: choice for choice in self.chosen}
        found: dict[int, Atoms] = {}
        for identifier, structure in structures:
            choice = wanted.get(identifier)
            if choice is not None and isinstance(structure, Atoms):
                found[choice.rank] = _told(structure, choice)
                if len(found) == len(wanted):
                    break
        assert len(found) == len(wanted), "the stream is another one than before"
        return [found[rank] for rank in sorted(found)]


def _told(atoms: Atoms, choice: Choice) -> Atoms:
    bare = atoms.copy()  # without its calculator
    bare.info |= {"identifier": choice.identifier, "select_rank": choice.rank}
    if not math.isnan(choice.uncertainty):
        bare.info["uncertainty"] = choice.uncertainty
    if math.isfinite(choice.distance):
        bare.info["select_distance"] = choice.distance
    return bare


def select(
    structures: Iterable[Item],
    count: int,
    settings: SelectionSettings | None = None,
    *,
    describer: Describer | None = None,
    known: Iterable[Item] = (),
    progress: ProgressCallback | None = None,
) -> Selection:
    """Choose `count` structures of a stream, which is read once; memory holds 1 kB of each.

    Args:
        structures: (identifier, Atoms), as `read_structures` gives them.
        count: how many; fewer come where the others are left out, or as good as there already.
        settings: how, see `SelectionSettings`.
        describer: by a potential (`ModelDescriber`); without, by geometry.
        known: those that are labelled already.
        progress: called with the number of structures read, then of those chosen.

    Raises:
        ValueError: count below 1, uncertainties needed and nowhere known, no structure at all.
    """
    chosen = settings or SelectionSettings()
    if count < 1:
        raise ValueError(f"{count} structures are asked for; ask for at least one.")
    with_words = describer or GeometricDescriber()
    rng = np.random.default_rng(chosen.seed)
    known_vectors = _known(known, with_words, chosen.most_known, rng)
    pool = _Pool(chosen)
    for items, described in _described(structures, with_words, uncertain=True):
        pool.add(items, described)
        if progress is not None:
            progress(pool.read, None)
    pool.check()
    vectors, uncertainty = pool.arrays()
    wanted = Wanted(count, chosen.by, chosen.apart, chosen.seed)
    picks = pick(vectors, uncertainty, known_vectors, wanted, progress)
    choices = tuple(
        Choice(rank, pool.identifiers[each.index], float(uncertainty[each.index]), each.distance)
        for rank, each in enumerate(picks, start=1)
    )
    errors = tuple(pool.errors)
    names = tuple(pool.identifiers)
    return Selection(choices, pool.read, dict(pool.reasons), errors, names, vectors, uncertainty, known_vectors)


def _described(
    structures: Iterable[Item], describer: Describer, *, uncertain: bool
) -> Iterator[tuple[list[Item], list[Described]]]:
    source = iter(structures)
    while items := list(islice(source, GROUP)):
        whole = [structure for _, structure in items if isinstance(structure, Atoms)]
        found = iter(describer.describe(whole, uncertain=uncertain))
        yield (
            items,
            [
                Described(None, error=structure.error) if isinstance(structure, Unreadable) else next(found)
                for _, structure in items
            ],
        )


def _known(known: Iterable[Item], describer: Describer, most: int, rng: np.random.Generator) -> Vectors:
    """[m, 256]: of known structures; a random choice of `most` of them (reservoir) where there are more."""
    kept: list[Vectors] = []
    seen = 0
    for items, described in _described(known, describer, uncertain=False):
        for (identifier, _), each in zip(items, described, strict=True):
            if each.vector is None:
                raise ValueError(f"{identifier}, which is said to be labelled already, {each.error}")
            seen += 1
            if len(kept) < most:
                kept.append(each.vector)
            elif (place := int(rng.integers(seen))) < most:
                kept[place] = each.vector
    return np.array(kept, np.float32) if kept else np.empty((0, SIZE), np.float32)


class _Pool:
    """Candidates as they come."""

    def __init__(self, settings: SelectionSettings) -> None:
        self._settings = settings
        self._needed = settings.by in NEED_UNCERTAINTY
        self.read = 0
        self.reasons: Counter[str] = Counter()
        self.errors: list[str] = []
        self.identifiers: list[str] = []
        self._vectors: list[Vectors] = []
        self._uncertainty: list[float] = []

    def add(self, items: Sequence[Item], described: Sequence[Described]) -> None:
        """Take those that are candidates, and count the others."""
        bounds = (self._settings.min_uncertainty, self._settings.max_uncertainty)
        self.read += len(items)
        for (identifier, structure), each in zip(items, described, strict=True):
            atoms = structure if isinstance(structure, Atoms) else Atoms()
            reason = reason_against(atoms, each, bounds, self._settings.closest, needed=self._needed)
            if reason:
                self.reasons[reason] += 1
                if each.error and len(self.errors) < 5:
                    self.errors.append(f"{identifier}: {each.error}")
                continue
            assert each.vector is not None
            self.identifiers.append(identifier)
            self._vectors.append(each.vector)
            self._uncertainty.append(each.uncertainty)

    def check(self) -> None:
        """Raise ValueError where there is nothing to choose from for a reason that the user can mend."""
        if not self.read:
            raise ValueError("the files hold no structure; there is nothing to choose from.")
        if not self.identifiers and self.reasons["uncertainty unknown"]:
            raise ValueError(
                "no structure has an uncertainty: give a checkpoint that knows its own (an ensemble, or one with a"
                " last-layer estimate), frames with info['uncertainty'], or choose by diversity or at random."
            )

    def arrays(self) -> tuple[Vectors, Numbers]:
        """Vectors [n, 256] and uncertainties [n] of the candidates."""
        vectors = np.array(self._vectors, np.float32).reshape(-1, SIZE)
        return vectors, np.array(self._uncertainty, np.float64)
