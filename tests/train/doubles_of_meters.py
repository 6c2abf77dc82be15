"""Stand-ins for what counts joules on other machines: files of the kernel, modules of drivers, programs of Slurm."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from train.energy.cpu_time import TICKS_PER_S
from train.energy.place import Gpu, Place

NVIDIA = Gpu("cuda", "NVIDIA A100-SXM4-40GB", uuid="1111")
AMD = Gpu("rocm", "AMD Instinct MI300X", bus="0000:c1:00.0")


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n", encoding="ascii")


@dataclass
class Machine:
    """A machine of two packages whose counters, clocks and processor times are set by hand."""

    root: Path
    gpu: Gpu | None = None
    seconds: float = 0.0
    own: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)
    process: int = 1

    def place(self) -> Place:
        return Place(
            host="node",
            process=self.process,
            gpu=self.gpu,
            root=self.root,
            environment=self.environment,
            clock=lambda: self.seconds,
            cpu_seconds=lambda: self.own,
        )

    def packages(self, *joules: float, wraps: float = 1000.0) -> None:
        for number, counted in enumerate(joules):
            domain = self.root / f"sys/class/powercap/intel-rapl:{number}"
            write(domain / "name", f"package-{number}")
            write(domain / "max_energy_range_uj", round(1e6 * wraps))
            write(domain / "energy_uj", round(1e6 * counted))

    def busy(self, seconds: float) -> None:
        """Processor time of everybody: a fifth each of user, nice, system, irq and softirq; idle and stolen beside."""
        each = round(seconds * TICKS_PER_S / 5)
        write(self.root / "proc/stat", f"cpu  {each} {each} {each} 99999 777 {each} {each} 333 {each} 0\ncpu0 1 2")

    def program(self, name: str, script: str) -> Path:
        """A program on the PATH, of sh."""
        path = self.root / "bin" / name
        write(path, f"#!/bin/sh\n{script}")
        path.chmod(0o755)
        self.environment["PATH"] = f"{path.parent}:/bin:/usr/bin"
        return path

    def slurm(self, joules: object, plugin: str = "acct_gather_energy/pm_counters") -> None:
        """A step of a job that has used so much; each question is a line in the file `asked`."""
        self.environment |= {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "3"}
        self.program("scontrol", f'echo "AccountingStorageType   = x"; echo "AcctGatherEnergyType    = {plugin}"')
        self.program("sstat", f'echo "$@" >> {self.root}/asked; cat {self.root}/consumed')
        write(self.root / "consumed", joules)


def fake_nvml(joules: Callable[[str], float], watts: float | None = None) -> ModuleType:
    """`pynvml` whose GPUs tell their energy, or their power alone where it is given; a KeyError is a lost GPU."""
    module: Any = ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818 - NVML's name
        pass

    def total(handle: str) -> int:
        if watts is not None:
            raise NVMLError_NotSupported("Not Supported")
        try:
            return round(1e3 * joules(handle))
        except KeyError:
            raise NVMLError("GPU is lost") from None

    def find(uuid: str) -> str:
        if not uuid.startswith("GPU-"):
            raise NVMLError("Not Found")
        return uuid

    module.NVMLError, module.NVMLError_NotSupported = NVMLError, NVMLError_NotSupported
    module.nvmlInit = module.nvmlShutdown = lambda: None
    module.nvmlDeviceGetHandleByUUID = find
    module.nvmlDeviceGetHandleByPciBusId = lambda bus: f"GPU-at-{bus}"
    module.nvmlDeviceGetUUID = lambda handle: handle
    module.nvmlDeviceGetTotalEnergyConsumption = total
    module.nvmlDeviceGetPowerUsage = lambda handle: round(1e3 * (watts or 0.0))
    return module


def fake_amdsmi(told: Callable[[], dict[str, float]]) -> ModuleType:
    """`amdsmi` with one GPU, that at c1."""
    module: Any = ModuleType("amdsmi")

    class AmdSmiException(Exception):  # noqa: N818 - ROCm's name
        pass

    def find(bus: str) -> str:
        if bus != AMD.bus:
            raise AmdSmiException("no such device")
        return bus

    module.AmdSmiException = AmdSmiException
    module.amdsmi_init = module.amdsmi_shut_down = lambda: None
    module.amdsmi_get_processor_handle_from_bdf = find
    module.amdsmi_get_energy_count = lambda handle: told()
    return module
