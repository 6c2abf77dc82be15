"""Diffusion and vibrations against closed forms."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin

from md_workflows.analysis.scalars import Temperature
from md_workflows.analysis.transport import MSD, VACF, MSDSettings, VACFSettings
from md_workflows.snapshot import Snapshot, System
from tests.md_workflows.seen_frames import seen, snapshots

CM2_PER_S = 0.1  # of one Å²/fs


def langevin_particles(n_atoms: int, n_frames: int) -> tuple[list[Snapshot], float]:
    """Free particles under ASE's Langevin thermostat: D = kT/(mγ), velocities forget as exp(-γt)."""
    atoms = Atoms(f"Ar{n_atoms}", positions=np.zeros((n_atoms, 3)))

    class Free(EMT):
        implemented_properties = ("energy", "forces")

        def calculate(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def] # ASE's signature
            self.results = {"energy": 0.0, "forces": np.zeros((n_atoms, 3))}

    atoms.calc = Free()
    friction = 0.01  # 1/fs
    random = np.random.default_rng(5)
    atoms.set_momenta(random.standard_normal((n_atoms, 3)) * np.sqrt(atoms.get_masses()[:, None] * units.kB * 300))
    dynamics = Langevin(atoms, 5 * units.fs, temperature_K=300, friction=friction / units.fs, fixcm=False, rng=random)
    system = System.of(atoms)
    frames = []
    for _ in dynamics.irun(2 * n_frames):
        if dynamics.nsteps % 2 == 0:
            frames.append(Snapshot.of(atoms, dynamics.nsteps, dynamics.nsteps * 5.0, system))
    mass = atoms.get_masses()[0]
    return frames, CM2_PER_S * units.kB * 300 / (mass * friction / units.fs) * units.fs


def test_a_random_walk_diffuses_as_it_should() -> None:
    """D = s²/2τ for steps of variance s² per component; the error told is the one that 24 walks show."""
    step, dt, n_atoms = 0.3, 2.0, 40
    told, errors = [], []
    for seed in range(24):
        walk = np.cumsum(np.random.default_rng(seed).normal(0, step, (1500, n_atoms, 3)), axis=0)
        reporter = seen(MSD(MSDSettings(window=50)), snapshots(walk, dt_fs=dt))
        (found,) = reporter.findings()
        told.append(found.value)
        errors.append(found.error)
        assert found.unit == "cm²/s"
    expected = CM2_PER_S * step**2 / (2 * dt) * (1 - 1 / n_atoms)  # without the drift of the whole
    spread = np.std(told, ddof=1)
    assert np.mean(told) == pytest.approx(expected, abs=4 * spread / np.sqrt(24))
    assert spread < 0.05 * expected
    # a spread of 24 values is known to 1/sqrt(48) = 14 %
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.5)


def test_drift_is_taken_out_or_left_in() -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(0, 0.3, (300, 20, 3)), axis=0)
    still = seen(MSD(MSDSettings(window=20)), snapshots(walk)).tables()["msd"]
    moving = walk + 0.2 * np.arange(300)[:, None, None]
    drifting = seen(MSD(MSDSettings(window=20)), snapshots(moving)).tables()["msd"]
    assert np.asarray(drifting["msd_A2"]) == pytest.approx(np.asarray(still["msd_A2"]), rel=1e-9)
    left = np.asarray(seen(MSD(MSDSettings(window=20, drift=True)), snapshots(moving)).tables()["msd"]["msd_A2"])
    brute = [((moving[lag:] - moving[: 300 - lag]) ** 2).sum(axis=2).mean() for lag in range(21)]
    assert left == pytest.approx(brute, rel=1e-9)


def test_free_langevin_particles() -> None:
    frames, expected = langevin_particles(100, 1200)
    msd = seen(MSD(MSDSettings(window=100, fit_from=0.6, fit_to=1.0, drift=True)), frames)
    vacf = seen(VACF(VACFSettings(window=100, drift=True)), frames)
    einstein, kubo = msd.findings()[0], vacf.findings()[0]
    # the integral ends at γt = 10, where exp(-10) is left out; steps of 10 fs add (γdt)²/12 = 0.1 %
    for found in (einstein, kubo):
        assert found.value == pytest.approx(expected, abs=4 * found.error)
        assert found.error < 0.1 * expected
    table = vacf.tables()["vacf"]
    decay = np.asarray(table["vacf_A2_per_fs2"]) / table["vacf_A2_per_fs2"][0]
    assert decay == pytest.approx(np.exp(-0.01 * np.asarray(table["time_fs"])), abs=0.05)
    assert table["vacf_A2_per_fs2"][0] == pytest.approx(
        3 * units.kB * 300 / Atoms("Ar").get_masses()[0] * units.fs**2, rel=0.05
    )
    temperature = seen(Temperature(), frames).findings()[0]
    assert temperature.value == pytest.approx(300, abs=4 * temperature.error)


@pytest.mark.parametrize("frequency", [2.0, 7.5])
def test_the_peak_of_an_oscillator(frequency: float) -> None:
    """Atoms on springs of a known frequency: the density of states peaks there, and has area one."""
    dt, n_atoms = 4.0, 6
    times = dt * np.arange(3000)
    phases = np.random.default_rng(1).uniform(0, 2 * np.pi, (n_atoms, 3))
    omega = 2 * np.pi * frequency / 1000
    velocities = np.cos(omega * times[:, None, None] + phases)
    vacf = seen(VACF(VACFSettings(window=400, drift=True)), snapshots(0 * velocities, velocities, dt_fs=dt))
    table = {name: np.asarray(column) for name, column in vacf.tables()["vdos"].items()}
    peak = table["frequency_THz"][np.argmax(table["vdos_per_THz"])]
    assert peak == pytest.approx(frequency, abs=1000 / (2 * 400 * dt))  # the resolution of the window
    assert np.sum(table["vdos_per_THz"]) * table["frequency_THz"][1] == pytest.approx(1.0)
    assert vacf.findings()[-1].quantity == "highest peak of the density of states"
    assert vacf.findings()[-1].value == pytest.approx(frequency, abs=vacf.findings()[-1].error)


def test_elements_of_unlike_speed() -> None:
    """Each element has its own curve; the whole is their mean, weighted by their numbers."""
    random = np.random.default_rng(2)
    atoms = Atoms("Li2Ar4")
    system = System.of(atoms)
    walk = np.cumsum(random.normal(0, 1, (200, 6, 3)) * np.array([3.0, 3, 1, 1, 1, 1])[:, None], axis=0)
    reporter = MSD(MSDSettings(window=10, drift=True))
    for step, place in enumerate(walk):
        reporter.observe(Snapshot(system, step, 1.0 * step, place, np.zeros((3, 3))))
    table = {name: np.asarray(column) for name, column in reporter.tables()["msd"].items()}
    assert table["msd_A2"] == pytest.approx((2 * table["msd_Li_A2"] + 4 * table["msd_Ar_A2"]) / 6)
    for name, atoms_of in (("Li", slice(0, 2)), ("Ar", slice(2, 6))):
        brute = [((walk[lag:, atoms_of] - walk[: 200 - lag, atoms_of]) ** 2).sum(axis=2).mean() for lag in range(11)]
        assert table[f"msd_{name}_A2"] == pytest.approx(brute, rel=1e-9)
    assert [one.quantity for one in reporter.findings()] == [
        f"diffusion of {name} (MSD)" for name in ("all", "Li", "Ar")
    ]


def test_wrapped_positions_are_joined_again_or_refused() -> None:
    cell = np.array([[6.0, 0, 0], [2.0, 5.0, 0], [0, 0, 7.0]])
    walk = np.cumsum(np.random.default_rng(4).normal(0, 0.4, (200, 5, 3)), axis=0) + 3
    atoms, wrapped = Atoms("Ar5", cell=cell, pbc=[True, True, False]), []
    plain, joined, refused = (MSD(MSDSettings(window=20, unwrap=unwrap)) for unwrap in (False, True, False))
    for step, place in enumerate(walk):
        atoms.positions[:] = place
        plain.observe(atoms, step, 2.0 * step)
        atoms.wrap()
        joined.observe(atoms, step, 2.0 * step)
        wrapped.append(Snapshot.of(atoms, step, 2.0 * step))
    assert np.asarray(joined.tables()["msd"]["msd_A2"]) == pytest.approx(np.asarray(plain.tables()["msd"]["msd_A2"]))
    with pytest.raises(ValueError, match=r"positions are wrapped\. Ask for unwrap=True"):
        seen(refused, wrapped)


def test_uneven_times_are_refused() -> None:
    reporter = MSD(MSDSettings(window=5))
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [3, 0, 0]])
    for step in (0, 1):
        reporter.observe(atoms, step, 2.0 * step)
    with pytest.raises(ValueError, match="the one at 6 fs comes 4 fs after the one before, and should be 2 fs after"):
        reporter.observe(atoms, 3, 6.0)
    with pytest.raises(ValueError, match="should be later than the last"):
        seen(MSD(), [Snapshot.of(atoms), Snapshot.of(atoms)])
    with pytest.raises(ValueError, match="needs at least three frames, 1 were seen"):
        seen(MSD(), [Snapshot.of(atoms)]).tables()
    with pytest.raises(ValueError, match="hold fewer than two points"):
        MSDSettings(window=10, fit_from=0.5, fit_to=0.52)
