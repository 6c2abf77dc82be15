"""Ways to an uncertainty, and how each is judged, for `benchmarks.uncertainty`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.uncertainty_cases import Case
from gfm_ase.loading import load
from potentials.calibration import HeadCalibration
from potentials.graph import AtomicGraph
from potentials.potential import Potential
from train.calibration.conformal import fit_quantity
from train.calibration.fitting import fit_calibration
from train.calibration.last_layer import with_uncertainties
from train.calibration.measures import Table, measure, measure_on_others, widths
from train.calibration.samples import Sample, Samples, grouped, sample
from train.config import DatasetConfig
from train.data import label
from train.evaluation import Evaluate
from train.frame import Frame
from train.progress import Reporter
from train.reading import read_frames
from train.structures import Held

WAYS = ("ensemble", "last layer")


@dataclass(frozen=True)
class Judged:
    """What one way is worth on one set of structures.

    Attributes:
        label: of the set.
        way: one of `WAYS`.
        samples: errors and raw uncertainties.
        calibration: that was judged; none: each fifth by the others.
        measures: of them.
    """

    label: str
    way: str
    samples: Samples
    calibration: HeadCalibration | None
    measures: Table


def judge(case: Case, way: str, console: Console) -> list[Judged]:
    """Calibrate, and measure on every set of a case; nothing where the way cannot be gone."""
    loaded = [load(path, device="cpu").potential.only(case.head) for path in case.members]
    potentials = [potential for potential in loaded if isinstance(potential, Potential)]
    assert len(potentials) == len(loaded), "members are single potentials"
    if way == "ensemble" and len(potentials) < 2:
        return []
    with Reporter(console).reading() as progress:

        def frames(paths: Sequence[Path]) -> list[Frame]:
            names = tuple(str(path.absolute()) for path in paths)
            found = read_frames(DatasetConfig(name=case.head, train=names), "train", progress=progress)
            known = set(potentials[0].references.elements(case.head))
            kept = [frame for frame in found if known.issuperset(frame.atoms.get_chemical_symbols())]
            if len(kept) < len(found):
                console.print(f"{case.name}: {len(found) - len(kept)} frames with elements that were not learnt")
            return kept

        def held(read: Sequence[Frame]) -> Held:
            return Held([label(frame, potentials[0].cutoff) for frame in read])

        evaluate = (
            mean_and_spread(potentials)
            if way == "ensemble"
            else with_uncertainties(potentials[0], case.head, held(frames(case.training)), progress=progress)
        )

        def samples(read: Sequence[Frame]) -> Samples:
            found = sample(evaluate, held(read), progress=progress)
            return grouped(found, [frame.atoms.info[case.group] for frame in read]) if case.group else found

        own = samples(frames(case.calibration))
        calibration = fit_calibration(own)
        judged = [Judged("held back, in fifths", way, own, None, measure_on_others(own))]
        for name, paths in case.tests.items():
            found = samples(frames(paths))
            judged.append(Judged(name, way, found, calibration, measure(found, calibration)))
    return judged


def coverage_in_halves(sample: Sample, draws: int, level: float = 0.9) -> list[float]:
    """Share of the errors inside, of one half of the structures calibrated by the other, for each draw of halves."""
    structures, found = np.unique(sample.structure), []
    for seed in range(draws):
        chosen = np.random.default_rng(seed).permutation(structures)[: len(structures) // 2]
        fitted = np.isin(sample.structure, chosen)
        record, others = fit_quantity(sample.part(fitted), (level,), seed=seed), sample.part(~fitted)
        found.append(float((np.abs(others.error) <= widths(others, record)[level]).mean()))
    return found


def mean_and_spread(members: Sequence[Potential]) -> Evaluate:
    """Mean of several potentials, and the standard deviations among them."""

    def evaluate(graph: AtomicGraph) -> dict[str, Tensor]:
        with torch.no_grad():
            results = [member(graph) for member in members]
        means = {name: torch.stack([one[name] for one in results]) for name in ("energy", "forces", "stress")}
        found = {name: values.mean(0) for name, values in means.items()}
        found["energy_uncertainty"] = means["energy"].std(0)
        found["forces_uncertainty"] = means["forces"].var(0).mean(-1).sqrt()
        found["stress_uncertainty"] = means["stress"].var(0).mean((-1, -2)).sqrt()
        return found

    return evaluate
