"""Estimates of joules and what they are made from: processor time, watts of models, the GPU of a device."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.doubles_of_meters import NVIDIA, Machine, write
from train.config_energy import EnergyConfig
from train.energy.cpu_time import busy_seconds, cpu_seconds
from train.energy.estimate import EstimatedCores, EstimatedGpu
from train.energy.place import Gpu, Place, gpu_of
from train.energy.watts import CORE_DEFAULT_W, GPU_DEFAULT_W, core_watts, gpu_watts


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.busy(100.0)
    return made


def test_an_estimate_is_called_one_and_says_what_it_takes(machine: Machine) -> None:
    machine.gpu = NVIDIA
    config = EnergyConfig(watts_per_core=5.0)
    cores, gpu = EstimatedCores(config, machine.place()), EstimatedGpu(config, machine.place())
    machine.own, machine.seconds = 12.0, 10.0
    assert (cores.joules(), cores.words) == (60.0, "estimate: busy cores x 5 W")
    assert (gpu.joules(), gpu.words) == (4000.0, "estimate: GPUs x 400 W")
    machine.own = 11.0  # of a child that nobody waited for
    assert cores.joules() == 60.0
    assert EstimatedGpu(EnergyConfig(gpu_watts=123.0), machine.place()).words == "estimate: GPUs x 123 W"


def test_watts_of_models(machine: Machine) -> None:
    assert core_watts(machine.root) == CORE_DEFAULT_W
    write(machine.root / "proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD EPYC 7763 64-Core Processor")
    assert core_watts(machine.root) == 280 / 64
    write(machine.root / "proc/cpuinfo", "model name\t: something else")
    assert core_watts(machine.root) == CORE_DEFAULT_W
    told = ["NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3", "NVIDIA A100-PCIE-40GB", "AMD Instinct MI250X", "GeForce"]
    assert [gpu_watts(name) for name in told] == [350.0, 700.0, 250.0, 280.0, GPU_DEFAULT_W]


def test_processor_time_of_a_process_and_its_children() -> None:
    before = cpu_seconds()
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    alive = cpu_seconds() - before
    child.communicate(b"\n")
    ended = cpu_seconds() - before
    assert 0.45 < alive < 2.0  # in ticks of 0.01 s; starting Python is in it, and this process hardly
    assert alive - 0.03 <= ended < alive + 1.0
    began, own = cpu_seconds(), time.process_time()
    while time.process_time() - own < 0.3:
        pass
    assert cpu_seconds() - began == pytest.approx(0.3, abs=0.05)


def test_busy_time_leaves_out_idle_and_stolen_time(machine: Machine) -> None:
    assert busy_seconds(machine.root) == pytest.approx(100.0)
    here = busy_seconds(Path("/"))
    assert here > cpu_seconds()


def test_the_gpu_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_of(torch.device("cpu")) is None

    class Properties:
        name, uuid = "NVIDIA A100", "1111"

    class Module:
        @staticmethod
        def get_device_properties(device: torch.device) -> Any:
            return Properties

    monkeypatch.setattr(torch, "get_device_module", lambda kind: Module)
    assert gpu_of(torch.device("cuda", 1)) == Gpu("cuda", "NVIDIA A100", "1111")
    monkeypatch.setattr(torch.version, "hip", "6.4")
    Properties.pci_domain_id, Properties.pci_bus_id, Properties.pci_device_id = 0, 0xC1, 0  # type: ignore[attr-defined]
    assert gpu_of(torch.device("cuda", 1)) == Gpu("rocm", "NVIDIA A100", "1111", "0000:c1:00.0")
    place = replace(Place(host="node", process=7), gpu=gpu_of(torch.device("cuda", 1)))
    assert (place.parts, place.gpu_key) == ({"cpu", "gpu"}, "node/1111")
