"""NVML: the energy counter of this process's NVIDIA GPU, or its power."""

from __future__ import annotations

from typing import Any

from train.energy.place import Gpu, Place
from train.energy.source import NEVER, Integrated, NotHereError, Rising


class Nvml:
    """Joules of one GPU, whoever uses it; GPUs before Volta have no counter, and their power is integrated.

    Args:
        place: of the process.

    Raises:
        NotHereError: no NVIDIA GPU, no `pynvml`, no driver that answers.
    """

    words = "nvml"
    covers = frozenset({"gpu"})
    lasting = False

    def __init__(self, place: Place) -> None:
        gpu = place.gpu
        if gpu is None or gpu.kind != "cuda":
            raise NotHereError("this process computes on no NVIDIA GPU")
        self._nvml = _module()
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise NotHereError(f"the driver does not answer ({error})") from None
        try:
            handle = _handle(self._nvml, gpu)
            self.key = f"nvml/{place.host}/{self._nvml.nvmlDeviceGetUUID(handle)}"
            self._open(handle, place)
        except (self._nvml.NVMLError, OSError) as error:
            self.close()
            raise NotHereError(f"{gpu.name} tells neither its energy nor its power ({error})") from None

    def _open(self, handle: Any, place: Place) -> None:
        nvml = self._nvml
        self._power: Integrated | None = None
        try:
            self._counter = Rising(lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)))
            self.interval_s = NEVER
        except nvml.NVMLError_NotSupported:
            self._power = Integrated(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3, place.clock)
            self.interval_s = 1.0

    def joules(self) -> float:
        """See `Source`."""
        try:
            if self._power:
                return self._power.joules()
            self._counter.update()
        except self._nvml.NVMLError as error:
            raise OSError(0, str(error)) from error
        return self._counter.total / 1e3

    def close(self) -> None:
        """Let go of the library."""
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            return  # a GPU that is lost takes the library with it


def _module() -> Any:
    try:
        import pynvml
    except ImportError:
        raise NotHereError("it needs the extra: pip install gfm-ase[energy]") from None
    return pynvml


def _handle(nvml: Any, gpu: Gpu) -> Any:
    """Of the very GPU that torch computes on: the two number them in different orders."""
    if gpu.uuid:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{gpu.uuid}")  # not found for a slice of one, which has no counter
    if gpu.bus:
        return nvml.nvmlDeviceGetHandleByPciBusId(gpu.bus)
    raise OSError(0, "torch does not tell which GPU it is")
