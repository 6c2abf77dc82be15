"""Power by the data sheets, for estimates: W of a busy core, W of a GPU."""

from __future__ import annotations

from pathlib import Path

from train.energy.source import read_text

CORE_W = {
    "EPYC 7763": 280 / 64,
    "EPYC 7A53": 280 / 64,
    "EPYC 7742": 225 / 64,
    "EPYC 9654": 360 / 96,
    "Platinum 8280": 205 / 28,
    "Platinum 8480": 350 / 56,
    "Gold 6148": 150 / 20,
    "Gold 6248": 150 / 20,
}
"""Thermal design power over cores, by a part of the name that /proc/cpuinfo tells; AMD, Intel, data sheets."""

CORE_DEFAULT_W = 8.0
"""Of other processors: cores of servers lie at 4 to 8 W, those of desktops above."""

GPU_W = {
    "B200": 1000.0,
    "H200": 700.0,
    "H100 PCIe": 350.0,
    "H100": 700.0,
    "A100-PCIE-40GB": 250.0,
    "A100 80GB PCIe": 300.0,
    "A100": 400.0,
    "V100-PCIE": 250.0,
    "V100": 300.0,
    "L40S": 350.0,
    "T4": 70.0,
    "MI300X": 750.0,
    "MI250X": 560.0 / 2,
}
"""Board power at most, by a part of the name that torch tells, the first that fits; of the MI250X, one of its two."""

GPU_DEFAULT_W = 300.0


def core_watts(root: Path) -> float:
    """W of a busy core of this machine."""
    try:
        lines = read_text(root / "proc/cpuinfo").splitlines()
    except OSError:
        return CORE_DEFAULT_W
    model = next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")
    return _first(CORE_W, model, CORE_DEFAULT_W)


def gpu_watts(name: str) -> float:
    """W of a GPU at full load."""
    return _first(GPU_W, name, GPU_DEFAULT_W)


def _first(table: dict[str, float], name: str, otherwise: float) -> float:
    return next((watts for part, watts in table.items() if part in name), otherwise)
