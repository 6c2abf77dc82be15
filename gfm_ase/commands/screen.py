"""`gfm-ase screen`: many structures relaxed and measured, one row each."""

from pathlib import Path

from gfm_ase.commands import doubting, screen_options, screening
from gfm_ase.commands.options import CHECKPOINT, COMPILE, DEVICE, DTYPE, HEAD, STRUCTURES
from gfm_ase.commands.relaxing import (
    CELL,
    CONSTANT_VOLUME,
    FMAX,
    HYDROSTATIC,
    MASK,
    MAX_STEPS,
    OPTIMIZER,
    PRESSURE,
    cell_values,
    relax_settings,
)


def screen(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    checkpoint: CHECKPOINT,
    structures: STRUCTURES,
    output: screen_options.OUTPUT = Path("screen"),
    properties: screen_options.PROPERTY = "relax",
    settings: screen_options.SETTINGS = None,
    workers: screen_options.WORKERS = None,
    executor: screen_options.EXECUTOR = None,
    chunk: screen_options.CHUNK = 32,
    table: screen_options.TABLE = None,
    duplicates: screen_options.DUPLICATES = None,
    parquet: screen_options.PARQUET = False,
    page: screen_options.PAGE = False,
    index: screen_options.INDEX = ":",
    fresh: screen_options.FRESH = False,
    retry_failed: screen_options.RETRY_FAILED = False,
    export_only: screen_options.EXPORT_ONLY = False,
    optimizer: OPTIMIZER = "fire",
    fmax: FMAX = 0.05,
    max_steps: MAX_STEPS = 500,
    cell: CELL = False,
    mask: MASK = None,
    hydrostatic: HYDROSTATIC = False,
    constant_volume: CONSTANT_VOLUME = False,
    pressure: PRESSURE = 0.0,
    max_uncertainty: doubting.MAX_UNCERTAINTY = None,
    uncertain: doubting.UNCERTAIN = None,
    candidates: doubting.CANDIDATES = None,
    head: HEAD = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
    compiled: COMPILE = False,
) -> None:
    """Relax and measure many structures: a durable table with one row each, as database, CSV and extended XYZ.

    A structure that fails is a row with its reason. Give the same command again after any end, and it goes on: what is
    in the table is not computed twice. docs/screening.md tells of executors, properties and restarts.

    Example: gfm-ase screen model.safetensors candidates/*.cif --cell --property relax,eos --workers 4 -o candidates
    """
    values = cell_values(mask, hydrostatic, constant_volume, pressure)
    policy = doubting.policy_values(max_uncertainty, uncertain, candidates)
    relax = relax_settings(optimizer, fmax, max_steps, cell, values, uncertainty=policy)
    also = tuple(suffix for suffix, wanted in ((".parquet", parquet), (".html", page)) if wanted)
    screening.Screening(
        screening.What(structures, index, output, table, also, fresh, properties, settings),
        screening.How(relax, duplicates, retry_failed, export_only, workers, executor, chunk),
        screening.CheckpointEngine.of(checkpoint, head, device, dtype, compiled),
    ).run()
