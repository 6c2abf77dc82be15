"""Mean squared displacement, velocity autocorrelation, and what follows: diffusion, vibrational density of states."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from ase import units
from numpy.typing import NDArray
from pydantic import Field, model_validator

from md_workflows.analysis.blocks import BlockAverage, Estimate, State
from md_workflows.analysis.correlation import PairSums
from md_workflows.analysis.motion import EvenSteps, Motion
from md_workflows.analysis.reporter import Finding, Need, Reporter, ReporterSettings, Table, join, split
from md_workflows.snapshot import Snapshot

Floats = NDArray[np.float64]
CM2_PER_S = 0.1  # of one Å²/fs


class CorrelationSettings(ReporterSettings):
    """window: the longest time difference, in frames; memory is 48 bytes an atom times the window.

    drift: leave the motion of the centre of mass in. Without it N like atoms diffuse slower by the factor 1 - 1/N.
    """

    window: Annotated[int, Field(ge=2)] = 100
    drift: bool = False


class MSDSettings(CorrelationSettings):
    """unwrap: positions were wrapped into the cell · fit_from, fit_to: of the slope, in parts of the window."""

    unwrap: bool = False
    fit_from: Annotated[float, Field(ge=0, lt=1)] = 0.2
    fit_to: Annotated[float, Field(gt=0, le=1)] = 0.8

    @model_validator(mode="after")
    def _in_order(self) -> MSDSettings:
        if round(self.fit_from * self.window) + 1 > round(self.fit_to * self.window):
            raise ValueError(
                f"fit_from {self.fit_from} to fit_to {self.fit_to} of a window of {self.window} frames hold fewer than "
                "two points; widen them"
            )
        return self


class VACFSettings(CorrelationSettings):
    """Velocities change fast: by default every second step is taken, and a window of 500 frames."""

    interval: Annotated[int, Field(ge=1)] = 2
    window: Annotated[int, Field(ge=2)] = 500


class Correlated(Reporter):
    """What MSD and VACF share: even times, pair sums, and a diffusion coefficient from each block of origins."""

    squared_change: ClassVar[bool]

    def __init__(self, settings: CorrelationSettings) -> None:
        super().__init__(settings)
        self._window = settings.window
        self._even = EvenSteps(f"the report {self.name}")
        self._sums: PairSums | None = None
        self._diffusion = BlockAverage(1)

    @property
    def pairs(self) -> PairSums:
        """The sums; there must have been a frame."""
        if self._sums is None:
            self._sums = PairSums(self.kinds, self._window, squared_change=self.squared_change)
        return self._sums

    def _begin(self) -> None:
        self._sums = PairSums(self.kinds, self._window, squared_change=self.squared_change)
        self._diffusion = BlockAverage(1 + len(self.elements))

    def _add(self, values: Floats, time_fs: float) -> None:
        self._even.check(time_fs)
        block = self.pairs.add(values)
        if block is not None:
            self._diffusion.add(self.diffusion(self._with_all(block)))

    def _with_all(self, sums: Floats) -> Floats:
        """[1+K, window+1] means over all atoms and over those of each element."""
        numbers = np.bincount(self.kinds)[:, None]
        return np.vstack([sums.sum(axis=0) / numbers.sum(), sums / numbers])

    def curves(self) -> tuple[Floats, Floats]:
        """Time differences [L] in fs and means [1+K, L], as far as there are frames.

        Raises:
            ValueError: fewer than three frames.
        """
        means = self._with_all(self.pairs.means())
        known = int(np.count_nonzero(np.isfinite(means[0])))
        if known < 3:
            raise ValueError(f"the report {self.name} needs at least three frames, {known} were seen.")
        return np.arange(known, dtype=np.float64) * self._even.spacing_fs, means[:, :known]

    def diffusion(self, means: Floats) -> Floats:
        """[1+K] Å²/fs from means [1+K, L]."""
        raise NotImplementedError

    def _coefficients(self, what: str) -> list[Finding]:
        try:
            values = self.diffusion(self.curves()[1])
        except ValueError:
            return []
        blocks = self._diffusion.estimates() if len(self._diffusion) else []
        names = ["all", *self.elements] if len(self.elements) > 1 else ["all"]
        unknown = Estimate(float("nan"), float("nan"), 0, float("nan"), False)
        return [
            Finding(
                f"diffusion of {name} ({what})", CM2_PER_S * float(value), CM2_PER_S * one.error, "cm²/s", one.converged
            )
            for name, value, one in zip(names, values, blocks or [unknown] * len(values), strict=False)
        ]

    def _named(self, prefix: str, rows: Floats, unit: str) -> dict[str, Floats]:
        names = ["", *(f"_{element}" for element in self.elements)]
        return {f"{prefix}{name}{unit}": row for name, row in zip(names, rows, strict=True)}

    def _state(self) -> State:
        parts = {"even": self._even.state(), "pairs": self.pairs.state(), "diffusion": self._diffusion.state()}
        return join(parts)

    def _restore(self, state: State) -> None:
        parts = split(state)
        self._even.restore(parts["even"])
        self.pairs.restore(parts["pairs"])
        self._diffusion.restore(parts["diffusion"])


class MSD(Correlated):
    """Mean squared displacement over all origins, and D from its slope / 6 (Einstein)."""

    name = "msd"
    squared_change = True

    def __init__(self, settings: MSDSettings | None = None) -> None:
        self._settings = settings or MSDSettings()
        super().__init__(self._settings)
        self._motion = self._new_motion()

    def _new_motion(self) -> Motion:
        return Motion(unwrap=self._settings.unwrap, drift=self._settings.drift)

    def _begin(self) -> None:
        super()._begin()
        self._motion = self._new_motion()

    def _take(self, snapshot: Snapshot) -> None:
        self._add(self._motion.follow(snapshot), snapshot.time_fs)

    def diffusion(self, means: Floats) -> Floats:
        """Least squares over the lags of the fit.

        Raises:
            ValueError: means do not reach that far.
        """
        first, last = (round(part * self._window) for part in (self._settings.fit_from, self._settings.fit_to))
        if means.shape[1] <= last:
            raise ValueError(f"the slope needs {last + 1} frames; shorten the window ({self._window}).")
        lags = np.arange(first, last + 1)
        centred = (lags - lags.mean()) * self._even.spacing_fs
        slopes: Floats = means[:, first : last + 1] @ centred / (centred @ centred)
        return slopes / 6

    def tables(self) -> dict[str, Table]:
        """time_fs, and the mean squared displacement (Å²) of all atoms and of each element."""
        times, means = self.curves()
        return {self.name: {"time_fs": times, **self._named("msd", means, "_A2")}}

    def findings(self) -> list[Finding]:
        """Diffusion coefficients; their errors from the spread over blocks of origins, NaN before there are two."""
        return self._coefficients("MSD")

    def _state(self) -> State:
        return join({"correlated": super()._state(), "motion": self._motion.state()})

    def _restore(self, state: State) -> None:
        parts = split(state)
        super()._restore(parts["correlated"])
        self._motion.restore(parts.get("motion", {}))


class VACF(Correlated):
    """Velocity autocorrelation over all origins; D from its integral / 3 (Green–Kubo); its spectrum."""

    name = "vacf"
    needs: ClassVar[tuple[Need, ...]] = ("momenta",)
    squared_change = False

    def __init__(self, settings: VACFSettings | None = None) -> None:
        settings = settings or VACFSettings()
        super().__init__(settings)
        self._drift = settings.drift

    def _take(self, snapshot: Snapshot) -> None:
        assert snapshot.momenta is not None
        masses = snapshot.system.masses
        velocities = snapshot.momenta / masses[:, None] * units.fs
        if not self._drift:
            velocities = velocities - snapshot.momenta.sum(axis=0) / masses.sum() * units.fs
        self._add(velocities, snapshot.time_fs)

    def diffusion(self, means: Floats) -> Floats:
        """The integral up to the longest lag."""
        return self._integral(means)[:, -1]

    def _integral(self, means: Floats) -> Floats:
        """[1+K, L] Å²/fs, by trapezoids."""
        pieces = (means[:, 1:] + means[:, :-1]) / 2 * self._even.spacing_fs
        integral: Floats = np.cumsum(pieces, axis=1) / 3
        return np.concatenate([np.zeros((len(means), 1)), integral], axis=1)

    def tables(self) -> dict[str, Table]:
        """vacf: Å²/fs², and the diffusion coefficient up to each time; vdos: area 1 over all frequencies, 1/THz."""
        times, means = self.curves()
        integral = CM2_PER_S * self._integral(means)
        frequencies, spectra = self._spectra(means)
        return {
            self.name: {
                "time_fs": times,
                **self._named("vacf", means, "_A2_per_fs2"),
                **self._named("diffusion", integral, "_cm2_per_s"),
            },
            "vdos": {"frequency_THz": frequencies, **self._named("vdos", spectra, "_per_THz")},
        }

    def _spectra(self, means: Floats) -> tuple[Floats, Floats]:
        """Cosine transform under a Hann window; all atoms together are weighted by their masses."""
        masses = np.bincount(self.kinds, weights=self.system.masses)
        rows = np.vstack([masses @ means[1:], means[1:]])
        n_lags = rows.shape[1]
        rows = rows * np.cos(0.5 * np.pi * np.arange(n_lags) / n_lags) ** 2
        rows[:, 0] /= 2  # trapezoids
        length = 8 * n_lags
        spectra = np.fft.rfft(rows, length).real
        frequencies = np.fft.rfftfreq(length, self._even.spacing_fs) * 1000
        area = spectra.sum(axis=1, keepdims=True) * frequencies[1]
        spectra = np.divide(spectra, area, out=np.zeros_like(spectra), where=area > 0)
        return frequencies.astype(np.float64), spectra

    def findings(self) -> list[Finding]:
        """Diffusion coefficients, and where the density of states is highest."""
        try:
            frequencies, spectra = self._spectra(self.curves()[1])
        except ValueError:
            return []
        width = float(1000 / (2 * self._even.spacing_fs * self._window))
        peak = Finding(
            "highest peak of the density of states", float(frequencies[int(np.argmax(spectra[0]))]), width, "THz"
        )
        return [*self._coefficients("Green–Kubo"), peak]
