"""Pictures along time: what is drawn is what was measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from gfm_ase.curves import EnergiesAlong, learning_figure, md_figure, read_md_log
from md_workflows import NVE, MDSettings, run_md

pytest.importorskip("matplotlib", reason="pictures need the extra report")


def row(epoch: int, energy: float) -> dict[str, Any]:
    """Of a journal: one data set with forces, one that has energies alone."""
    energies = {"energy_mae_eV_per_atom": energy, "trivial_energy_mae_eV_per_atom": 0.5}
    forces = {"forces_mae_eV_per_A": 2 * energy, "trivial_forces_mae_eV_per_A": 1.0}
    valid = {"both": {**energies, **forces}, "no_forces": energies}
    return {"epoch": epoch, "train_loss": 3 * energy, "valid_loss": 4 * energy, "valid": valid}


def lines(axis: Any) -> dict[str, list[float]]:
    """Curves with a name."""
    return {line.get_label(): list(line.get_ydata()) for line in axis.lines if not line.get_label().startswith("_")}


def test_learning_curves_are_the_journal_in_milli_units_beside_the_trivial_errors() -> None:
    loss, energy, forces = learning_figure([row(1, 0.25), row(2, 0.125)]).axes
    assert lines(loss) == {"training": [0.75, 0.375], "validation": [1.0, 0.5]}
    assert lines(energy) == {"both": [250.0, 125.0], "no_forces": [250.0, 125.0]}
    assert lines(forces) == {"both": [500.0, 250.0]}
    dashed = [list(line.get_ydata()) for line in forces.lines if line.get_linestyle() == "--"]
    assert dashed == [[1000.0, 1000.0]]
    assert {axis.get_yscale() for axis in (loss, energy, forces)} == {"log"}


def test_energy_is_drawn_beside_them_where_it_was_metered() -> None:
    rows = [{**row(n, 0.5 / n), "energy_J": 1500.0 * n, "energy_source": "estimate: busy cores x 8 W"} for n in (1, 2)]
    *_, energy = learning_figure(rows).axes
    assert lines(energy) == {"estimate: busy cores x 8 W": [1.5, 3.0]}
    assert energy.get_title() == "energy used, kJ"
    large = [{**one, "energy_J": 2e6 * one["energy_J"] / 1500.0, "energy_source": "nvml + rapl"} for one in rows]
    *_, energy = learning_figure(large).axes
    assert lines(energy) == {"nvml + rapl": pytest.approx([2e6 / 3.6e6, 4e6 / 3.6e6])}
    assert energy.get_title() == "energy used, kWh"
    unmetered = [{**one, "energy_J": None, "energy_source": "not metered"} for one in rows]
    assert len(learning_figure(unmetered).axes) == 3


def test_an_empty_journal_is_refused() -> None:
    with pytest.raises(ValueError, match="journal of the run is empty"):
        learning_figure([])


@pytest.fixture
def log(tmp_path: Path) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    settings = MDSettings(ensemble=NVE(), steps=4, initial_temperature_K=300.0, log_interval=1, trajectory_interval=1)
    run_md(bulk("Cu", cubic=True), settings, calculator=EMT(), files=tmp_path / "md.traj")
    return read_md_log(tmp_path / "md.csv")


def test_the_log_of_a_run_is_read_with_all_its_columns(log: dict[str, Any]) -> None:
    np.testing.assert_array_equal(log["time_fs"], [0.0, 1.0, 2.0, 3.0, 4.0])
    total = log["potential_energy_eV"] + log["kinetic_energy_eV"]
    np.testing.assert_allclose(log["total_energy_eV"], total, rtol=1e-15)


def test_a_missing_number_is_nan_and_a_log_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "md.csv"
    path.write_text("step,pressure_GPa\n0,\n")
    assert np.isnan(read_md_log(path)["pressure_GPa"]).all()
    path.write_text("step,pressure_GPa\n")
    with pytest.raises(ValueError, match=r"md\.csv holds no row"):
        read_md_log(path)


def test_energies_along_md_keep_the_offset_between_potential_and_reference(log: dict[str, Any]) -> None:
    reference = EnergiesAlong("EMT", log["time_fs"], log["potential_energy_eV_per_atom"] + 0.002)
    potential, total, temperature = md_figure(log, reference).axes
    shown = lines(potential)
    np.testing.assert_allclose(np.array(shown["EMT"]) - shown["potential"], 2.0, atol=1e-9)
    assert shown["potential"][0] == 0.0
    assert lines(total)["total energy"][0] == 0.0
    assert len(temperature.lines) == 1
    assert len(md_figure(log, reference, target_K=300.0).axes[2].lines) == 2
