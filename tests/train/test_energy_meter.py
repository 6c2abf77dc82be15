"""The meter: which sources are taken, what several processes count once, what is lost, what is told."""

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from rich.console import Console

from tests.train.doubles_of_meters import NVIDIA, Machine, fake_nvml
from train.config_energy import EnergyConfig, SourceName
from train.energy import meter as meters
from train.energy.account import Account, energy_text
from train.energy.meter import Meter, open_meter
from train.energy.place import Gpu
from train.energy.registry import COUNTERS, WHOLE, choose
from train.group import ALONE
from train.progress import Reporter

SCRIPT = Path(__file__).with_name("metered_by_many.py")
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PMI_RANK", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
POWERS = EnergyConfig(watts_per_core=5.0, gpu_watts=10.0)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.busy(100.0)
    return made


def opened(machine: Machine, config: EnergyConfig = POWERS) -> tuple[Meter, list[str]]:
    said: list[str] = []
    chosen = choose(config, machine.place(), ALONE)
    return Meter(config, machine.place(), ALONE, chosen, said.append), said


def read(meter: Meter) -> Account:
    account = Account()
    meter.read(account)
    return account


def words(machine: Machine, **settings: Any) -> str:
    meter, _ = opened(machine, EnergyConfig(**{**POWERS.model_dump(), **settings}))
    return read(meter).source


def test_every_name_of_the_run_file_is_a_source() -> None:
    assert set(get_args(SourceName)) == {"auto", *COUNTERS, *WHOLE, "estimate", "none"}


def test_what_is_taken_by_itself(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert words(machine) == "estimate: busy cores x 5 W"
    machine.gpu = NVIDIA
    assert words(machine) == "estimate: busy cores x 5 W + estimate: GPUs x 10 W"
    machine.slurm(0)
    assert words(machine) == "slurm"
    machine.packages(0.0)
    assert words(machine) == "rapl + estimate: GPUs x 10 W"
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(lambda _: 0.0))
    assert words(machine) == "nvml + rapl"
    machine.gpu = None
    assert words(machine) == "rapl"


def test_what_is_taken_by_name(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(lambda _: 0.0))
    machine.gpu = NVIDIA
    machine.packages(0.0)
    machine.slurm(0)
    assert [words(machine, source=name) for name in ("nvml", "rapl", "slurm")] == ["nvml", "rapl", "slurm"]
    assert words(machine, source="estimate") == "estimate: busy cores x 5 W + estimate: GPUs x 10 W"
    with pytest.raises(
        ValueError, match=r'energy.source = "rocm" cannot be had: rocm: this process .* "auto" takes what there is'
    ):
        words(machine, source="rocm")
    machine.slurm(0, plugin="acct_gather_energy/none")
    with pytest.raises(ValueError, match=r'energy.source = "slurm" cannot be had: slurm: this Slurm measures no'):
        words(machine, source="slurm")


def test_nothing_is_metered_where_nothing_is_asked_for(machine: Machine) -> None:
    meter, _ = opened(machine, EnergyConfig(source="none"))
    account = read(meter)
    assert account.row() == {"energy_J": None, "energy_source": "not metered"}
    assert account.record() == {
        "joules": None,
        "kWh": None,
        "source": "not metered",
        "estimate": False,
        "parts": {},
    }
    assert energy_text(account.joules, account.source) == "energy not metered"


def test_parts_add_up_and_only_what_is_new_is_added(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"GPU-1111": 0.0}
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(counted.__getitem__))
    machine.gpu = NVIDIA
    machine.packages(0.0)
    meter, _ = opened(machine)
    counted["GPU-1111"] = 100.0
    machine.packages(50.0)
    machine.busy(110.0)
    machine.own = 5.0
    account = Account({"slurm": 1000.0}, ["slurm"])  # of an earlier session
    meter.read(account)
    meter.read(account)
    assert account.parts == pytest.approx({"slurm": 1000.0, "nvml": 100.0, "rapl": 25.0})
    assert account.row() == {"energy_J": 1125.0, "energy_source": "slurm, then nvml + rapl"}
    assert not account.estimate
    counted["GPU-1111"] = 3.6e6
    meter.read(account)
    assert account.record()["kWh"] == pytest.approx((3.6e6 + 1025.0) / 3.6e6)


def test_a_gpu_that_is_lost_is_told_once_and_estimated_from_then_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = {"GPU-1111": 0.0}
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(counted.__getitem__))
    machine.gpu = NVIDIA
    machine.packages(0.0)
    meter, said = opened(machine)
    counted["GPU-1111"], machine.seconds = 100.0, 10.0
    account = read(meter)
    del counted["GPU-1111"]
    machine.seconds = 20.0
    meter.read(account)
    machine.seconds = 25.0
    meter.read(account)
    assert account.parts == {"nvml": 100.0, "rapl": 0.0, "estimate: GPUs x 10 W": 50.0}
    assert account.source == "nvml + rapl, then nvml + rapl + estimate: GPUs x 10 W"
    assert account.estimate
    assert said == [
        "energy: nvml does not answer (GPU is lost); what was counted stays, and an estimate goes on from here"
    ]


def test_slurm_that_fails_for_a_while_stands_still_and_goes_on(machine: Machine) -> None:
    machine.slurm(0)
    meter, said = opened(machine)
    machine.program("sstat", "echo busy >&2; exit 1")
    machine.seconds = 40.0
    account = read(meter)
    assert account.parts == {"slurm": 0.0}
    assert said == ["energy: slurm does not answer (sstat fails: busy); what was counted last stands until it does"]
    machine.slurm(7000)
    machine.seconds = 80.0
    meter.read(account)
    assert account.row() == {"energy_J": 7000.0, "energy_source": "slurm"}


def test_a_thread_looks_where_readings_would_miss_something(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two wraps between two readings: without the thread 300 J would look like none."""
    monkeypatch.setattr("train.energy.rapl.Rapl.interval_s", 0.01)
    machine.packages(0.0, wraps=100.0)
    before = set(threading.enumerate())
    meter, _ = opened(machine)
    assert [thread.name for thread in set(threading.enumerate()) - before] == ["energy"]
    seen = threading.Event()
    real = meter._sources[0].joules

    def joules() -> float:
        found = real()
        seen.set()
        return found

    monkeypatch.setattr(meter._sources[0], "joules", joules)
    for number, counted in enumerate((60.0, 20.0, 80.0, 40.0, 0.0)):
        with meter._lock:  # a counter, the clock and the process move together
            machine.packages(counted, wraps=100.0)
            machine.own = 5.0 * (number + 1)
            machine.busy(100.0 + machine.own)
            seen.clear()
        assert seen.wait(20.0)
    assert read(meter).joules == pytest.approx(300.0)
    meter.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(20.0)
        assert not thread.is_alive()


def test_counters_need_no_thread(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(lambda _: 0.0))
    machine.gpu = NVIDIA
    before = threading.active_count()
    meter, _ = opened(machine, EnergyConfig(source="nvml"))
    assert threading.active_count() == before
    meter.close()


def test_what_is_metered_is_said_with_why_no_counter_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(tmp_path, gpu=Gpu("xpu", "a GPU of Intel [x]"))
    monkeypatch.setattr(meters, "place_of", lambda device: machine.place())
    console = Console(record=True, width=1000, file=io.StringIO())
    open_meter(POWERS, torch.device("cpu"), ALONE, Reporter(console)).close()
    assert console.export_text() == (
        "energy: estimate: busy cores x 5 W + estimate: GPUs x 10 W; rapl: there is no processor package in"
        " /sys/class/powercap; slurm: this process is in no job of Slurm\n"
    )


def test_energies_for_people() -> None:
    told = [energy_text(joules, "rapl") for joules in (0.0, 812.4, 4500.0, 4.5e6, 7.2e9)]
    assert told == ["0 J (rapl)", "812 J (rapl)", "1.25 Wh (rapl)", "1.25 kWh (rapl)", "2 MWh (rapl)"]


# packages: 300 J, of which 5 and 10 of 20 busy seconds are ours; GPUs: 1000 J and 500 J
SHARED = {
    "no GPU": ({"rapl": 300.0 * 15 / 20}, "rapl"),
    "own GPUs": ({"nvml": 1500.0, "rapl": 225.0}, "nvml + rapl"),
    "one GPU": ({"nvml": 1000.0, "rapl": 225.0}, "nvml + rapl"),
    "slurm": ({"slurm": 5000.0}, "slurm"),
    "lost GPU": (
        {"nvml": 1000.0, "rapl": 225.0, "estimate: GPUs x 10 W": 300.0},
        "nvml + rapl + estimate: GPUs x 10 W",
    ),
}


def test_two_processes_on_one_host_count_each_thing_once(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    environment["PYTHONPATH"] = os.pathsep.join([str(SCRIPT.parents[2]), environment.get("PYTHONPATH", "")])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, str(SCRIPT), str(tmp_path), *SHARED],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    for case, (parts, source) in SHARED.items():
        account = Account(**told[case]["account"])
        assert account.parts == pytest.approx(parts), case
        assert account.source == source, case
        # what the second process loses the first one says
        said = told[case]["said"]
        assert ["nvml does not answer (GPU is lost)" in one for one in said] == [True] * (case == "lost GPU"), case
