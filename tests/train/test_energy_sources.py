"""Each source of joules, on stand-ins for the machines that have it: counters that wrap, refuse, vanish."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.train.doubles_of_meters import AMD, NVIDIA, Machine, fake_amdsmi, fake_nvml, write
from train.energy.nvml import Nvml
from train.energy.place import Gpu
from train.energy.rapl import Rapl
from train.energy.rocm import Rocm
from train.energy.slurm import Slurm
from train.energy.source import Integrated, NotHereError, Rising


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.busy(100.0)
    return made


def installed(monkeypatch: pytest.MonkeyPatch, name: str, module: Any) -> None:
    monkeypatch.setitem(sys.modules, name, module)


def test_a_counter_that_wraps_and_one_that_begins_anew() -> None:
    values = iter([90.0, 95.0, 5.0, 7.0])
    wrapping = Rising(lambda: next(values), wraps=100.0)
    assert [wrapping.update() for _ in range(3)] == [5.0, 10.0, 2.0]
    assert wrapping.total == 17.0
    values = iter([90.0, 95.0, 5.0])
    restarted = Rising(lambda: next(values))
    assert [restarted.update(), restarted.update(), restarted.total] == [5.0, 5.0, 10.0]


def test_power_is_integrated_exactly_where_it_changes_evenly() -> None:
    times = iter([0.0, 0.0, 1.0, 1.0, 1.5, 1.5, 4.0, 4.0])
    power = Integrated(lambda: 100.0 + 20.0 * next(times), lambda: next(times))
    found = [power.joules() for _ in range(3)]
    assert found[-1] == pytest.approx(100.0 * 4.0 + 10.0 * 16.0)  # the integral of 100 + 20 t


def test_rapl_is_the_packages_by_the_share_of_busy_time(machine: Machine) -> None:
    machine.packages(10.0, 20.0)
    for inside in ("0:0", "0:1"):  # cores and memory of a package, which are in it or beside it
        write(machine.root / f"sys/class/powercap/intel-rapl:{inside}/name", "core")
    write(machine.root / "sys/class/powercap/intel-rapl:2/name", "psys")  # the whole machine, packages included
    write(machine.root / "sys/class/powercap/intel-rapl-mmio:0/name", "package-0")  # the same once more
    rapl = Rapl(machine.place())
    machine.packages(110.0, 60.0)
    machine.busy(140.0)
    machine.own = 10.0
    assert rapl.joules() == pytest.approx(140.0 / 4)
    machine.packages(210.0, 60.0)
    machine.busy(150.0)
    machine.own = 20.5  # clocks of different grain: never more than there is
    assert rapl.joules() == pytest.approx(140.0 / 4 + 100.0)


def test_two_runs_on_a_host_add_up_to_its_packages(machine: Machine) -> None:
    machine.packages(0.0)
    other = Machine(machine.root)
    one, two = Rapl(machine.place()), Rapl(other.place())
    machine.packages(80.0)
    machine.busy(110.0)
    machine.own, other.own = 7.5, 2.5
    assert (one.joules(), two.joules()) == (pytest.approx(60.0), pytest.approx(20.0))


def test_rapl_waits_for_a_tick_of_the_clock_and_loses_nothing(machine: Machine) -> None:
    machine.packages(0.0)
    rapl = Rapl(machine.place())
    machine.packages(5.0)
    assert rapl.joules() == 0.0
    machine.busy(101.0)
    machine.own = 0.5
    machine.packages(8.0)
    assert rapl.joules() == pytest.approx(4.0)


def test_rapl_goes_around(machine: Machine) -> None:
    machine.packages(990.0, wraps=1000.0)
    rapl = Rapl(machine.place())
    machine.packages(15.0, wraps=1000.0)
    machine.busy(110.0)
    machine.own = 10.0
    assert rapl.joules() == pytest.approx(25.0)
    # at the most that a package draws nothing is missed between two looks of the thread: 65.5 kJ is the smallest
    # range of a kernel's counter (32 bits of 15.3 µJ)
    assert rapl.interval_s < 2**32 * 15.3e-6 / 500


def test_rapl_that_may_not_be_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.packages(0.0)
    real = Path.read_text

    def read_text(self: Path, *given: Any, **settings: Any) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *given, **settings)

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(NotHereError, match=r"intel-rapl:0/energy_uj may not be read by this user.*udev rule"):
        Rapl(machine.place())


def test_rapl_that_is_not_there_is_broken_or_vanishes(machine: Machine) -> None:
    with pytest.raises(NotHereError, match="there is no processor package in /sys/class/powercap"):
        Rapl(machine.place())
    machine.packages(0.0)
    counter = machine.root / "sys/class/powercap/intel-rapl:0/energy_uj"
    write(counter, "broken")
    with pytest.raises(NotHereError, match=r"energy_uj does not answer \(it holds 'broken', no number\)"):
        Rapl(machine.place())
    machine.packages(0.0)
    rapl = Rapl(machine.place())
    counter.unlink()
    with pytest.raises(FileNotFoundError):
        rapl.joules()
    machine.packages(0.0)
    (machine.root / "proc/stat").unlink()
    with pytest.raises(NotHereError, match=r"proc/stat does not answer \(No such file"):
        Rapl(machine.place())


def test_nvml_counts_the_gpu_that_torch_computes_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"GPU-1111": 1000.0, "GPU-2222": 7.0}
    installed(monkeypatch, "pynvml", fake_nvml(counted.__getitem__))
    machine.gpu = NVIDIA
    nvml = Nvml(machine.place())
    counted |= {"GPU-1111": 1234.5, "GPU-2222": 99.0}
    assert nvml.joules() == pytest.approx(234.5)
    assert nvml.key == "nvml/node/GPU-1111"
    assert nvml.interval_s == float("inf")
    machine.gpu = Gpu("cuda", "A100", bus="0000:41:00.0")
    counted["GPU-at-0000:41:00.0"] = 0.0
    assert Nvml(machine.place()).key == "nvml/node/GPU-at-0000:41:00.0"
    del counted["GPU-1111"]
    with pytest.raises(OSError, match="GPU is lost"):
        nvml.joules()
    nvml.close()


def test_nvml_of_an_old_gpu_integrates_power(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "pynvml", fake_nvml(lambda _: 0.0, watts=150.0))
    machine.gpu = NVIDIA
    nvml = Nvml(machine.place())
    machine.seconds = 4.0
    assert nvml.joules() == pytest.approx(600.0)
    assert nvml.interval_s == 1.0


def test_nvml_that_is_not_there(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotHereError, match="this process computes on no NVIDIA GPU"):
        Nvml(machine.place())
    machine.gpu = NVIDIA
    installed(monkeypatch, "pynvml", None)
    with pytest.raises(NotHereError, match=r"it needs the extra: pip install gfm-ase\[energy\]"):
        Nvml(machine.place())
    installed(monkeypatch, "pynvml", fake_nvml({}.__getitem__))
    with pytest.raises(NotHereError, match=r"A100-SXM4-40GB tells neither its energy nor its power \(GPU is lost\)"):
        Nvml(machine.place())
    machine.gpu = Gpu("cuda", "A100")
    with pytest.raises(NotHereError, match="torch does not tell which GPU it is"):
        Nvml(machine.place())


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a driver here")
def test_the_real_nvml_without_a_driver(machine: Machine) -> None:
    real = pytest.importorskip("pynvml", reason="NVML is the extra `energy`")
    double = fake_nvml(lambda _: 0.0)
    assert [name for name in vars(double) if not name.startswith("_") and not hasattr(real, name)] == []
    assert issubclass(real.NVMLError_NotSupported, real.NVMLError)
    machine.gpu = NVIDIA
    with pytest.raises(NotHereError, match=r"the driver does not answer \(NVML Shared Library Not Found\)"):
        Nvml(machine.place())


def test_rocm_by_amdsmi(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"energy_accumulator": 1000.0, "counter_resolution": 15.3}
    installed(monkeypatch, "amdsmi", fake_amdsmi(lambda: told))
    machine.gpu = AMD
    rocm = Rocm(machine.place())
    told["energy_accumulator"] = 2_001_000.0
    assert rocm.joules() == pytest.approx(2e6 * 15.3e-6)
    assert rocm.key == "rocm/node/0000:c1:00.0"
    told.clear()
    with pytest.raises(OSError, match="amdsmi: KeyError"):
        rocm.joules()
    rocm.close()


@pytest.mark.parametrize("smi", [None, fake_amdsmi(dict)], ids=["none", "one that does not know"])
def test_rocm_by_the_files_of_the_kernel(smi: Any, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "amdsmi", smi)
    machine.gpu = AMD
    with pytest.raises(NotHereError, match=r"neither amdsmi nor a file of hwmon tells .* the GPU at 0000:c1:00.0"):
        Rocm(machine.place())
    folder = machine.root / "sys/bus/pci/devices/0000:c1:00.0/hwmon/hwmon7"
    write(folder / "power1_average", 200_000_000)
    power = Rocm(machine.place())
    machine.seconds = 3.0
    assert (power.joules(), power.interval_s) == (pytest.approx(600.0), 1.0)
    write(folder / "energy1_input", 5_000_000)
    energy = Rocm(machine.place())
    write(folder / "energy1_input", 8_500_000)
    assert (energy.joules(), energy.interval_s) == (pytest.approx(3.5), float("inf"))


def test_rocm_finds_its_gpu_by_the_number_that_torch_spells(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "amdsmi", None)
    devices = machine.root / "sys/bus/pci/devices"
    write(devices / "0000:c1:00.0/unique_id", "18F68E602B8A790F")
    write(devices / "0000:c6:00.0/unique_id", "cf7c14142d8df1f2")
    write(devices / "0000:c6:00.0/hwmon/hwmon3/power1_input", 1_000_000)
    spelt = b"cf7c14142d8df1f2".hex()
    machine.gpu = Gpu("rocm", "MI250X", uuid=f"{spelt[:8]}-{spelt[8:12]}-{spelt[12:16]}-{spelt[16:20]}-{spelt[20:]}")
    assert Rocm(machine.place()).key == "rocm/node/0000:c6:00.0"
    machine.gpu = Gpu("rocm", "MI250X", uuid="ffff-ffff")
    with pytest.raises(NotHereError, match=r"torch names the GPU 'ffff-ffff', and no AMD GPU in /sys/bus/pci/devices"):
        Rocm(machine.place())
    machine.gpu = None
    with pytest.raises(NotHereError, match="this process computes on no AMD GPU"):
        Rocm(machine.place())


def test_slurm_is_asked_for_the_step_and_seldom(machine: Machine) -> None:
    machine.slurm(1000)
    slurm = Slurm(machine.place())
    asked = machine.root / "asked"
    assert asked.read_text() == "--noheader --parsable2 --jobs=17.3 --format=ConsumedEnergyRaw\n"
    write(machine.root / "consumed", 1500)
    machine.seconds = 29.0
    assert slurm.joules() == 0.0
    machine.seconds = 30.0
    assert slurm.joules() == 500.0
    assert len(asked.read_text().splitlines()) == 2
    assert slurm.key == "slurm/17.3"
    del machine.environment["SLURM_STEP_ID"]
    assert Slurm(machine.place()).key == "slurm/17.batch"


def test_slurm_that_fails_for_a_while(machine: Machine) -> None:
    machine.slurm(1000)
    slurm = Slurm(machine.place())
    (machine.root / "consumed").unlink()
    machine.seconds = 30.0
    with pytest.raises(OSError, match="sstat fails: cat: "):
        slurm.joules()
    write(machine.root / "consumed", 4000)
    machine.seconds = 60.0
    assert slurm.joules() == 3000.0


def test_slurm_that_measures_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotHereError, match="this process is in no job of Slurm"):
        Slurm(machine.place())
    machine.slurm(0, plugin="acct_gather_energy/none")
    with pytest.raises(NotHereError, match="this Slurm measures no energy: AcctGatherEnergyType is none"):
        Slurm(machine.place())
    for nothing in (2**32 - 2, 2**64 - 2, "", "1.5K"):
        machine.slurm(nothing)
        with pytest.raises(NotHereError, match=r"sstat tells '.*' for the energy of slurm/17\.3, no joules"):
            Slurm(machine.place())
    machine.environment["PATH"] = "/nowhere"
    with pytest.raises(NotHereError, match="there is no program scontrol on the PATH"):
        Slurm(machine.place())
    machine.slurm(0)
    machine.program("sstat", "exec sleep 60")
    monkeypatch.setattr("train.energy.slurm.PATIENCE_S", 0.1)
    with pytest.raises(NotHereError, match=r"sstat does not answer within 0\.1 s"):
        Slurm(machine.place())
