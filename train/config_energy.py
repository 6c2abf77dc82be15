"""`[energy]` of a run file."""

from __future__ import annotations

from typing import Literal

from train.config_tables import Positive, Table

SourceName = Literal["auto", "nvml", "rocm", "rapl", "slurm", "estimate", "none"]


class EnergyConfig(Table):
    """`[energy]`: where the joules of a run come from, see `train.energy`.

    Attributes:
        source: "auto" takes the counters that there are and estimates what has none; a name takes this one alone, and
            is refused where it is not there; "none" leaves energy out.
        watts_per_core: of a busy core, for estimates; without, by the data sheet of the processor, or 8 W.
        gpu_watts: of a GPU, for estimates; without, by its data sheet, or 300 W.
    """

    source: SourceName = "auto"
    watts_per_core: Positive | None = None
    gpu_watts: Positive | None = None
