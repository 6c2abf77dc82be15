"""The search for minimum energy paths: bands descend side by side, each step one stream of all their images."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field

from md_workflows.bands.band import band_forces, check_ends, interpolated
from md_workflows.bands.fire import Fire
from md_workflows.durable import check_directory, temporary_beside
from md_workflows.engine import Engine, Outcome, engine_for, evaluate_many
from md_workflows.frames import check_suffix, frame_writer
from md_workflows.progress import ProgressCallback
from md_workflows.properties.stream import EVALUATE, done_of, reason_of
from md_workflows.relaxation import RelaxResult, RelaxSettings
from md_workflows.settings import Settings


class NEBSettings(Settings):
    """How the path is sought.

    images: between the ends · interpolation: the first path, "idpp" or "linear" · relax_ends: relax both ends first, to
    `fmax` · climb: the highest image climbs onto the saddle, as soon as all forces are below climb_below (eV/Å) ·
    spring: eV/Å² between images · fmax: eV/Å, converged when the force on every atom of every image is below ·
    max_steps: of the ends and of the band, each.
    """

    images: Annotated[int, Field(ge=1)] = 5
    interpolation: Literal["idpp", "linear"] = "idpp"
    relax_ends: bool = True
    climb: bool = True
    climb_below: Annotated[float, Field(gt=0)] = 0.5
    spring: Annotated[float, Field(gt=0)] = 0.1
    fmax: Annotated[float, Field(gt=0)] = 0.05
    max_steps: Annotated[int, Field(ge=0)] = 500


@dataclass(frozen=True)
class NEBResult:
    """How the search for one path ended.

    images: both ends and what is between, with energies and forces · barrier_eV: highest image less the initial one,
    reverse_barrier_eV: less the final one · saddle: number of the highest image · path_A: [P] length of the path up to
    each image · converged: every force of the band, climbing done, is below `fmax` · steps · fmax: eV/Å, the largest
    force at the end · error: why there is no path, empty otherwise.
    """

    images: tuple[Atoms, ...] = ()
    barrier_eV: float = float("nan")
    reverse_barrier_eV: float = float("nan")
    saddle: int = 0
    path_A: tuple[float, ...] = ()
    converged: bool = False
    steps: int = 0
    fmax: float = float("nan")
    error: str = ""


def neb(
    initial: Atoms,
    final: Atoms,
    settings: NEBSettings | None = None,
    *,
    calculator: Any = None,
    engine: Engine | None = None,
    trajectory: str | Path | None = None,
    progress: ProgressCallback | None = None,
) -> NEBResult:
    """The minimum energy path between two structures; the given atoms stay untouched.

    Either calculator (any of ASE's) or engine. trajectory: the images at the end (.traj or .extxyz), written beside
    and renamed.

    Raises:
        ValueError: neither or both of them, ends between which there is no way, a calculation that failed, a
            trajectory's suffix or directory.
    """
    if (calculator is None) == (engine is None):
        raise ValueError("give either calculator= (any ASE calculator) or engine=, one of them.")
    path = None if trajectory is None else Path(trajectory)
    if path is not None:
        check_suffix(path)
        check_directory(path)
    driver = engine if engine is not None else engine_for(calculator)
    (result,) = neb_many([(initial, final)], driver, settings, progress=progress)
    if result.error:
        raise ValueError(result.error)
    if path is not None:
        _write(path, result.images)
    return result


def _write(path: Path, images: Sequence[Atoms]) -> None:
    temporary = temporary_beside(path)
    temporary.unlink(missing_ok=True)
    try:
        with closing(frame_writer(temporary)) as writer:
            for image in images:
                writer.write(image)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def neb_many(
    ends: Sequence[tuple[Atoms, Atoms]],
    engine: Engine,
    settings: NEBSettings | None = None,
    *,
    progress: ProgressCallback | None = None,
) -> list[NEBResult]:
    """The path between each pair of structures; one that fails is a result with an error and ends no other.

    In each step the images of all bands that are not done go through the engine in one stream.
    """
    chosen = settings or NEBSettings()
    bands = [_Band(initial, final) for initial, final in ends]
    _relax_ends(bands, engine, chosen)
    for band in bands:
        band.attempt(lambda band: band.interpolate(chosen))
    for step in range(chosen.max_steps + 1):
        moving = [band for band in bands if band.moving]
        if not moving:
            break
        _evaluate(moving, engine)
        for band in moving:
            band.attempt(lambda band, last=step == chosen.max_steps: band.advance(chosen, last))
        if progress is not None:
            progress(step, chosen.max_steps)
    return [band.result() for band in bands]


@dataclass
class _Band:
    """One band on its way: the positions of its images are changed in place."""

    initial: Atoms
    final: Atoms
    images: list[Atoms] = field(default_factory=list)
    computed: dict[int, RelaxResult] = field(default_factory=dict)
    fire: Fire = field(default_factory=Fire)
    climbing: bool = False
    converged: bool = False
    moving: bool = True
    steps: int = 0
    fmax: float = float("nan")
    error: str = ""

    def attempt(self, act: Any) -> None:
        """Do something with this band, unless it has failed; an exception is its failure."""
        if self.error:
            return
        try:
            act(self)
        except Exception as failure:
            self.fail(reason_of(failure))

    def fail(self, reason: str) -> None:
        """The band is given up, for the first reason."""
        self.error, self.moving = self.error or reason, False

    def interpolate(self, settings: NEBSettings) -> None:
        """The first images, from ends that are final now."""
        check_ends(self.initial, self.final)
        self.images = interpolated(self.initial, self.final, settings.images, settings.interpolation)

    def waiting(self) -> list[int]:
        """Numbers of the images to compute: all at first, then those between the ends."""
        return list(range(len(self.images))) if not self.computed else list(range(1, len(self.images) - 1))

    def advance(self, settings: NEBSettings, last: bool) -> None:
        """Stop if the forces are small enough or this is the last step; else move the images."""
        forces = self._forces(settings)
        if settings.climb and not self.climbing and self.fmax < settings.climb_below:
            self.climbing = True
            forces = self._forces(settings)
        self.converged = self.fmax < settings.fmax and self.climbing == settings.climb
        self.moving = not (self.converged or last)
        if self.moving:
            for image, displacement in zip(self.images[1:-1], self.fire.step(forces), strict=True):
                image.set_positions(image.positions + displacement)  # fixed atoms stay
            self.steps += 1

    def _forces(self, settings: NEBSettings) -> NDArray[np.float64]:
        true = np.array([self.computed[place].atoms.get_forces() for place in range(1, len(self.images) - 1)])
        positions = np.array([image.positions for image in self.images])
        forces = band_forces(positions, self._energies(), true, settings.spring, self.climbing)
        self.fmax = float(np.linalg.norm(forces, axis=2).max())
        return forces

    def _energies(self) -> NDArray[np.float64]:
        return np.array([self.computed[place].energy for place in range(len(self.images))])

    def result(self) -> NEBResult:
        """What is known at the end."""
        if self.error:
            return NEBResult(error=self.error, steps=self.steps)
        energies = self._energies()
        saddle = int(energies.argmax())
        positions = np.array([image.positions for image in self.images])
        lengths = np.linalg.norm(np.diff(positions, axis=0).reshape(len(positions) - 1, -1), axis=1)
        return NEBResult(
            images=tuple(self.computed[place].atoms for place in range(len(self.images))),
            barrier_eV=float(energies[saddle] - energies[0]),
            reverse_barrier_eV=float(energies[saddle] - energies[-1]),
            saddle=saddle,
            path_A=tuple(float(length) for length in np.concatenate([[0.0], np.cumsum(lengths)])),
            converged=self.converged,
            steps=self.steps,
            fmax=self.fmax,
        )


def _relax_ends(bands: Sequence[_Band], engine: Engine, settings: NEBSettings) -> None:
    """Check all ends, and relax them in one stream where this is asked for."""
    for band in bands:
        band.attempt(lambda band: check_ends(band.initial, band.final))
    if not settings.relax_ends:
        return
    sound = [band for band in bands if not band.error]
    relaxation = RelaxSettings(optimizer="lbfgs", fmax=settings.fmax, max_steps=settings.max_steps)
    stream = (atoms for band in sound for atoms in (band.initial, band.final))
    for outcome in _in_order(engine.relax_many(stream, relaxation)):
        band, is_final = sound[outcome.index // 2], outcome.index % 2
        done = done_of(outcome, relaxation)
        if isinstance(done, str):
            band.fail(f"the {'final' if is_final else 'initial'} structure: {done}")
        elif is_final:
            band.final = done.atoms
        else:
            band.initial = done.atoms


def _in_order(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """As the structures went in, so that of several failures the same one is told whatever the engine."""
    return sorted(outcomes, key=lambda outcome: outcome.index)


def _evaluate(bands: Sequence[_Band], engine: Engine) -> None:
    places = [(band, place) for band in bands for place in band.waiting()]

    def stream() -> Iterator[Atoms]:
        for band, place in places:
            yield band.images[place]

    for outcome in _in_order(evaluate_many(engine, stream())):
        band, place = places[outcome.index]
        done = done_of(outcome, EVALUATE)
        if isinstance(done, str):
            band.fail(f"image {place}: {done}")
        else:
            band.computed[place] = done
