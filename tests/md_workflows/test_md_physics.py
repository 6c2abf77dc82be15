"""Molecular dynamics is ASE's, and samples what it says."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin as ASELangevin
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet

from md_workflows import NPT, NVE, Langevin, MDFiles, MDSettings, NoseHooverChain, parse_settings, run_md
from md_workflows.velocities import thermal_momenta

FS = units.fs
CHAIN = {"temperature_K": 300.0, "tdamp": 80 * FS, "tchain": 3, "tloop": 1}
MTK = {**CHAIN, "pressure_au": 2 * units.GPa, "pdamp": 400 * FS, "pchain": 3, "ploop": 1}
NHC_SETTINGS = {"temperature_K": 300.0, "tdamp_fs": 80.0, "degrees": "ase"}
MTK_SETTINGS = {**NHC_SETTINGS, "pressure_GPa": 2.0, "pdamp_fs": 400.0}


def crystal(repeat: int = 1) -> Atoms:
    return bulk("Cu", cubic=True) * (repeat, repeat, repeat)


def moving(repeat: int = 1) -> Atoms:
    atoms = crystal(repeat)
    thermal_momenta(atoms, 600.0, seed=5)
    return atoms


def column(path: Path, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    with path.open() as handle:
        return np.array([float(row[name]) for row in csv.DictReader(handle)])


@pytest.mark.parametrize(
    ("ensemble", "by_hand"),
    [
        ({"name": "nve"}, lambda a: VelocityVerlet(a, 4 * FS)),
        (
            {"name": "langevin", "temperature_K": 300.0, "friction_per_fs": 0.02, "seed": 7},
            lambda a: ASELangevin(
                a,
                4 * FS,
                temperature_K=300.0,
                friction=0.02 / FS,
                fixcm=False,
                rng=np.random.Generator(np.random.PCG64(7)),
            ),
        ),
        ({"name": "nose_hoover_chain", **NHC_SETTINGS}, lambda a: NoseHooverChainNVT(a, 4 * FS, **CHAIN)),
        ({"name": "npt_isotropic", **MTK_SETTINGS}, lambda a: IsotropicMTKNPT(a, 4 * FS, **MTK)),
        ({"name": "npt", **MTK_SETTINGS}, lambda a: MTKNPT(a, 4 * FS, **MTK)),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_is_ase_by_hand(ensemble: dict[str, Any], by_hand: Any) -> None:
    """Same integrator, same numbers: no unit is converted wrongly, no option is lost on the way."""
    start = moving()
    result = run_md(start, MDSettings(ensemble=ensemble, steps=25, timestep_fs=4.0), calculator=EMT())
    hand = start.copy()
    hand.calc = EMT()
    by_hand(hand).run(25)
    assert np.array_equal(result.atoms.positions, hand.positions)
    assert np.array_equal(result.atoms.get_momenta(), hand.get_momenta())
    assert np.array_equal(result.atoms.cell.array, hand.cell.array)
    assert result.time_fs == 100.0


def test_the_given_atoms_stay_untouched() -> None:
    atoms = crystal()
    calculator = atoms.calc = EMT()
    before = atoms.copy()
    result = run_md(atoms, MDSettings(ensemble=Langevin(temperature_K=300.0), steps=3))
    assert atoms == before
    assert atoms.calc is calculator
    assert not atoms.has("momenta")
    assert not np.array_equal(result.atoms.positions, atoms.positions)


def test_energy_error_falls_with_the_square_of_the_time_step(tmp_path: Path) -> None:
    """Velocity Verlet keeps a shadow energy H + dt² g + O(dt⁴): halving dt divides the ripple of H by 4.

    The next term is smaller by (ω dt)² or so, 1.5 % at ω dt = 0.12, and the extremes of the ripple, sampled at
    52 points a period or more, are missed by (π/52)²/2 = 0.2 % at most.
    """
    dimer = Atoms("H2", positions=[[0, 0, 0], [1.05, 0, 0]])  # ε = 1 eV, r0 = 1 Å, ρ0 = 6
    k = 2 * 1.0 * 6.0**2  # eV/Å²: V'' = 2 ε (ρ0/r0)²
    omega = np.sqrt(k / (dimer.get_masses()[0] / 2))  # in ASE units of time
    steps, ripple = 200, []
    for part in (0.12, 0.06):
        log = tmp_path / f"{part}.csv"
        settings = MDSettings(
            ensemble=NVE(), steps=round(steps * 0.12 / part), timestep_fs=part / omega / FS, log_interval=1
        )
        calculator = MorsePotential(epsilon=1.0, r0=1.0, rho0=6.0)
        run_md(dimer, settings, calculator=calculator, files=MDFiles(log=log))
        ripple.append(np.ptp(column(log, "total_energy_eV")))
    assert ripple[0] / ripple[1] == pytest.approx(4.0, rel=0.03)


def test_momentum_is_conserved() -> None:
    result = run_md(moving(), MDSettings(ensemble=NVE(), steps=50, timestep_fs=4.0), calculator=EMT())
    scale = np.abs(result.atoms.get_momenta()).sum()
    assert np.abs(result.atoms.get_momenta().sum(axis=0)).max() < 1e-12 * scale


def test_initial_velocities() -> None:
    """Zero momentum; the mean kinetic energy of 3N - 3 normal variables, within 5 of its standard deviations."""
    atoms = crystal(6)  # 864 atoms
    thermal_momenta(atoms, 500.0, seed=1)
    freedom = 3 * len(atoms) - 3
    expected = freedom / 2 * units.kB * 500.0
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-10
    assert abs(atoms.get_kinetic_energy() / expected - 1) < 5 * np.sqrt(2 / freedom)


def test_who_gets_initial_velocities() -> None:
    def temperature(atoms: Atoms, **given: Any) -> float:
        return run_md(atoms, MDSettings(steps=0, **given), calculator=EMT()).temperature_K

    hot = moving()
    assert temperature(crystal(), ensemble=NVE()) == 0.0
    assert temperature(hot, ensemble=NVE()) == hot.get_temperature()
    assert temperature(hot, ensemble=Langevin(temperature_K=10.0)) == hot.get_temperature()
    assert 0 < temperature(crystal(), ensemble=Langevin(temperature_K=10.0)) < 40.0
    assert 0 < temperature(hot, ensemble=NVE(), initial_temperature_K=10.0) < 40.0
    one = Atoms("Cu", calculator=EMT())
    assert temperature(one, ensemble=NVE(), initial_temperature_K=10.0) > 0
    held = crystal()
    held.set_constraint(FixAtoms([0]))
    assert temperature(held, ensemble=NVE(), initial_temperature_K=10.0) > 0


def test_seed_decides() -> None:
    def positions(seed: int) -> Any:
        ensemble = Langevin(temperature_K=300.0, seed=seed)
        return run_md(moving(), MDSettings(ensemble=ensemble, steps=5), calculator=EMT()).atoms.positions

    assert np.array_equal(positions(1), positions(1))
    assert not np.array_equal(positions(1), positions(2))


@pytest.mark.slow
def test_langevin_temperature(tmp_path: Path) -> None:
    """Mean temperature within 5 standard errors.

    The kinetic energy has the relative variance 2/3N and forgets itself as exp(-2γt) (free particle) or no slower
    than exp(-γt) (oscillator): a run of length t holds at least γt/2 independent samples. Velocity Verlet with
    friction adds a bias of (ωdt)²/4 at most: 0.8 % for copper's fastest phonon (7.3 THz) at 4 fs.
    """
    friction, steps, dt = 0.05, 1200, 4.0
    settings = MDSettings(
        ensemble=Langevin(temperature_K=300.0, friction_per_fs=friction, seed=1),
        steps=steps + 100,
        timestep_fs=dt,
        initial_temperature_K=600.0,  # half of it becomes potential energy
        log_interval=1,
    )
    run_md(crystal(2), settings, calculator=EMT(), files=MDFiles(log=tmp_path / "md.csv"))
    temperature = column(tmp_path / "md.csv", "temperature_K")[101:]
    samples = friction * steps * dt / 2
    bias = (2 * np.pi * 7.3e-3 * dt) ** 2 / 4
    assert abs(temperature.mean() / 300.0 - 1) < 5 * np.sqrt(2 / 96 / samples) + bias


def test_nose_hoover_temperature(tmp_path: Path) -> None:
    """A chain of one: dp/dt = 2K - fkT, so the mean of 2K is fkT + (p_end - p_start)/t, exactly but for dt.

    f = 3N - 3. The thermostat's momentum is normal with variance Q kT = f (kT τ)²; two of them lie within 2 × 5 of its
    deviations, which bounds the error of the mean temperature by 10 τ / (t √f). The log counts 3N.
    """
    tau, steps, dt = 40.0, 400, 4.0
    settings = MDSettings(
        ensemble=NoseHooverChain(temperature_K=300.0, tdamp_fs=tau, tchain=1),
        steps=steps + 100,
        timestep_fs=dt,
        initial_temperature_K=600.0,
        log_interval=1,
    )
    run_md(crystal(2), settings, calculator=EMT(), files=MDFiles(log=tmp_path / "md.csv"))
    temperature = column(tmp_path / "md.csv", "temperature_K")[101:]
    assert abs(temperature.mean() * 96 / 93 / 300.0 - 1) < 10 * tau / (steps * dt * np.sqrt(93))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["npt_isotropic", "npt"])
def test_npt_reaches_its_pressure(name: str, tmp_path: Path) -> None:
    """<(P - P0) V> = -kT (Martyna, Tobias & Klein 1994, the work virial theorem), within 5 standard errors.

    Blocks of 500 fs are longer than the barostat's period, so their means are independent and tell the error. It
    has to be small against what is measured: the cell starts 3 GPa away from its target.
    """
    target = 3.0
    settings = MDSettings(
        ensemble={"name": name, "temperature_K": 300.0, "pressure_GPa": target, "pdamp_fs": 200.0},
        steps=1500,
        timestep_fs=5.0,
        initial_temperature_K=600.0,
        log_interval=1,
    )
    log = tmp_path / "md.csv"
    run_md(crystal(2), settings, calculator=EMT(), files=MDFiles(log=log))
    volume = column(log, "volume_A3")[501:]
    work = (column(log, "pressure_GPa")[501:] - target) * units.GPa * volume
    blocks = work.reshape(10, 100).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(len(blocks))
    assert error / volume.mean() < 0.1 * units.GPa
    assert abs(blocks.mean() + units.kB * 300.0) < 5 * error


def test_log_and_summary(tmp_path: Path) -> None:
    files = MDFiles.beside(tmp_path / "md.extxyz")
    settings = MDSettings(ensemble=NVE(), steps=10, timestep_fs=2.0, log_interval=5)
    result = run_md(moving(), settings, calculator=EMT(), files=files)
    assert files.log is not None
    assert column(files.log, "step").tolist() == [0, 5, 10]
    assert column(files.log, "time_fs").tolist() == [0.0, 10.0, 20.0]
    total = column(files.log, "total_energy_eV")
    assert result.energies.total == total[-1]
    assert result.energies.drift_per_atom == pytest.approx((total[-1] - total[0]) / 4, abs=1e-12)
    assert column(files.log, "temperature_K")[-1] == result.temperature_K == result.atoms.get_temperature()
    assert column(files.log, "volume_A3")[-1] == pytest.approx(crystal().get_volume())
    stress = result.atoms.get_stress(include_ideal_gas=True)
    assert column(files.log, "pressure_GPa")[-1] == pytest.approx(-stress[:3].mean() / units.GPa)


def test_a_molecule_has_no_pressure(tmp_path: Path) -> None:
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [2.2, 0, 0]])
    log = tmp_path / "md.csv"
    run_md(atoms, MDSettings(ensemble=NVE(), steps=1), calculator=EMT(), files=MDFiles(log=log))
    row = next(csv.DictReader(log.read_text().splitlines()))
    assert row["pressure_GPa"] == row["volume_A3"] == ""


def test_progress_counts_every_step() -> None:
    seen: list[tuple[int, int | None]] = []
    settings = MDSettings(ensemble=NVE(), steps=3)
    run_md(moving(), settings, calculator=EMT(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_refusals(tmp_path: Path) -> None:
    nve = MDSettings(ensemble=NVE(), steps=1)
    npt = MDSettings(ensemble=NPT(temperature_K=300.0), steps=1)
    held = crystal()
    held.set_constraint(FixAtoms([0]))
    slab = crystal()
    slab.pbc = (True, True, False)
    nan = crystal()
    nan.positions[0] = np.nan
    flat = Atoms("Cu", pbc=True)
    no_stress = EMT()
    no_stress.implemented_properties = ["energy", "forces"]
    chain = MDSettings(ensemble=NoseHooverChain(temperature_K=300.0), steps=1)
    cases: list[tuple[Atoms, MDSettings, dict[str, Any], str]] = [
        (crystal(), nve, {"calculator": None}, "no calculator"),
        (Atoms(), nve, {}, "no atoms"),
        (nan, nve, {}, "not finite numbers"),
        (flat, nve, {}, "zero cell vector"),
        (held, chain, {}, r"NoseHooverChain cannot keep constraints \(FixAtoms\)"),
        (slab, npt, {}, "NPT needs a structure periodic along all three directions"),
        (crystal(), npt, {"calculator": no_stress}, "NPT needs the stress, which EMT does not give"),
        (crystal(), nve, {"files": tmp_path / "md.xyz"}, "has to end in one of .traj, .extxyz"),
        (crystal(), nve, {"files": tmp_path / "no" / "md.traj"}, "does not exist; create it first"),
        (crystal(), nve, {"files": MDFiles(log=tmp_path / "a", state=tmp_path / "a")}, "need different names"),
    ]
    for atoms, settings, other, told in cases:
        with pytest.raises(ValueError, match=told):
            run_md(atoms, settings, **{"calculator": EMT(), **other})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"ensemble": {"name": "nve"}}, "steps is needed by MDSettings"),
        ({"ensemble": {"name": "nvt"}, "steps": 1}, "ensemble 'nvt' is not known; allowed are 'nve', 'langevin'"),
        ({"ensemble": {"name": "nve"}, "steps": 1, "timestep": 2}, "'timestep'; did you mean 'timestep_fs'?"),
        (
            {"ensemble": {"name": "nve", "temperature_K": 3}, "steps": 1},
            "NVE does not take 'temperature_K'; it takes name",
        ),
        ({"ensemble": {"name": "langevin"}, "steps": 1}, "temperature_K is needed"),
        ({"ensemble": {"name": "nve"}, "steps": -1}, "steps = -1 is refused"),
        ({"ensemble": {"name": "nve"}, "steps": 1, "timestep_fs": float("nan")}, "timestep_fs = nan is refused"),
    ],
)
def test_settings_explain_themselves(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("?", r"\?")):
        parse_settings(MDSettings, values)
