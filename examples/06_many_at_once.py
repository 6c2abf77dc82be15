"""Many structures in one call of the potential: relaxations, several temperatures, a screening with its page."""

from pathlib import Path

from ase.build import bulk

from gfm_ase import GFMCalculator
from md_workflows import (
    PROPERTIES,
    Asked,
    Langevin,
    MDGuards,
    MDSettings,
    RelaxSettings,
    ScreenFiles,
    ScreenSettings,
    relax_many,
    run_md_many,
    screen,
)

CHECKPOINT = Path("example_01/run/model.safetensors")


def main() -> None:
    """Ten strained cells back to their minima, six temperatures side by side, bulk moduli of two metals."""
    if not CHECKPOINT.exists():
        raise SystemExit("run 01_train_to_md.py first, in this folder")
    calculator = GFMCalculator(CHECKPOINT)
    settings = RelaxSettings(fmax=0.02, cell={})

    strained = [bulk("Cu", cubic=True, a=3.5 + 0.03 * number) for number in range(10)]
    outcomes = list(relax_many(strained, settings, calculator=calculator))
    volumes = [outcome.result.atoms.cell.volume for outcome in outcomes]
    print(f"{len(outcomes)} cells of copper come to {min(volumes):.2f} to {max(volumes):.2f} Å³")
    assert all(outcome.result.converged for outcome in outcomes)

    crystal = bulk("Cu", cubic=True) * (2, 2, 2)
    temperatures = (100, 200, 300, 400, 500, 600)
    runs = [MDSettings(ensemble=Langevin(temperature_K=T, seed=T), steps=100, timestep_fs=4) for T in temperatures]
    keep = {"files": "example_06", "on_existing": "overwrite", "guards": MDGuards(min_distance_of_radii=0.6)}
    for outcome in run_md_many([crystal] * len(runs), runs, calculator=calculator, **keep):
        held = temperatures[outcome.index]
        print(f"{held} K held: {outcome.temperature_K:.0f} K after {outcome.time_fs:.0f} fs {outcome.stopped}")

    asked = (Asked.of("eos", PROPERTIES["eos"]),)
    files = ScreenFiles.beside("example_06_metals", also=(".html",))
    metals = [(symbol, bulk(symbol)) for symbol in ("Cu", "Au")]
    result = screen(metals, files, ScreenSettings(settings, asked), calculator=calculator, resume=False)
    for row in result.rows:
        print(row.identifier, row.status, row.values.get("eos_bulk_modulus_GPa"))


if __name__ == "__main__":
    main()
