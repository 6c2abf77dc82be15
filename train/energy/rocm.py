"""ROCm: the energy counter of this process's AMD GPU by amdsmi, or its power by the kernel's hwmon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from train.energy.place import Place
from train.energy.source import NEVER, Integrated, NotHereError, Rising, read_number, read_text

MICRO = 1e-6
DEVICES = "sys/bus/pci/devices"


class Rocm:
    """Joules of one GPU, whoever uses it.

    `amdsmi` comes with ROCm. Without it the kernel's files do: energy1_input (µJ), or power, which is integrated. Of
    cards with two GPUs (MI250X) the first tells what both use, and the second 0.

    Args:
        place: of the process.

    Raises:
        NotHereError: no AMD GPU, or nothing that tells its energy or power.
    """

    words = "rocm"
    covers = frozenset({"gpu"})
    lasting = False

    def __init__(self, place: Place) -> None:
        gpu = place.gpu
        if gpu is None or gpu.kind != "rocm":
            raise NotHereError("this process computes on no AMD GPU")
        bus = gpu.bus or _bus(place.root / DEVICES, gpu.uuid)
        self.key = f"rocm/{place.host}/{bus}"
        self._smi, self.interval_s = _module(), NEVER
        self._joules: Callable[[], float] | None = None
        if self._smi:
            self._joules = self._by_amdsmi(bus)
        if self._joules is None:
            self._joules = self._by_hwmon(place, bus)

    def _by_amdsmi(self, bus: str) -> Callable[[], float] | None:
        smi = self._smi
        failures = (smi.AmdSmiException, KeyError)  # versions name what they tell differently
        try:
            smi.amdsmi_init()
        except failures:
            self._smi = None
            return None

        def counted() -> float:
            try:
                told = smi.amdsmi_get_energy_count(handle)
                return float(told["energy_accumulator"] * told["counter_resolution"]) * MICRO
            except failures as error:
                raise OSError(0, f"amdsmi: {error!r}") from error

        try:
            handle = smi.amdsmi_get_processor_handle_from_bdf(bus)
            counter = Rising(counted)
        except (*failures, OSError):
            self.close()
            self._smi = None
            return None

        def joules() -> float:
            counter.update()
            return counter.total

        return joules

    def _by_hwmon(self, place: Place, bus: str) -> Callable[[], float]:
        folders = sorted((place.root / DEVICES / bus / "hwmon").glob("hwmon*"))
        for name in ("energy1_input", "power1_average", "power1_input"):
            for file in [folder / name for folder in folders if (folder / name).exists()]:
                try:
                    return self._of_file(file, place.clock)
                except OSError:
                    continue
        raise NotHereError(f"neither amdsmi nor a file of hwmon tells the energy or power of the GPU at {bus}")

    def _of_file(self, file: Path, clock: Callable[[], float]) -> Callable[[], float]:
        if file.name.startswith("power"):
            self.interval_s = 1.0
            return Integrated(lambda: read_number(file) * MICRO, clock).joules
        counter = Rising(lambda: read_number(file) * MICRO)

        def joules() -> float:
            counter.update()
            return counter.total

        return joules

    def joules(self) -> float:
        """See `Source`."""
        assert self._joules is not None
        return self._joules()

    def close(self) -> None:
        """Let go of the library."""
        if self._smi:
            try:
                self._smi.amdsmi_shut_down()
            except self._smi.AmdSmiException:
                return


def _module() -> Any:
    try:
        import amdsmi
    except (ImportError, OSError, KeyError):  # it looks for its library when it is imported
        return None
    return amdsmi


def _bus(devices: Path, uuid: str) -> str:
    """PCI address of the GPU whose unique number torch spells as a UUID: the number's letters are its bytes."""
    try:
        number = bytes.fromhex(uuid.replace("-", "")).decode("ascii").lower()
    except ValueError:
        number = ""
    for file in sorted(devices.glob("*/unique_id")) if number else []:
        try:
            told = read_text(file).strip().lower()
        except OSError:
            continue
        if told == number:
            return file.parent.name
    raise NotHereError(f"torch names the GPU {uuid!r}, and no AMD GPU in /{DEVICES} has that number")
