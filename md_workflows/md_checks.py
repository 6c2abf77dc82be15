"""What is checked of a run on ASE's integrators, in words for those who asked for it."""

from ase import Atoms

from md_workflows.ensembles import EnsembleSettings
from md_workflows.md_state import MDState

SAME_ENERGY = 1e-5  # eV per atom: float32 noise is below, another checkpoint far above


def check_ensemble_of(atoms: Atoms, ensemble: EnsembleSettings) -> None:
    """Raise ValueError where an ensemble makes no sense for these atoms and their calculator."""
    if atoms.constraints and not ensemble.allows_constraints:
        kinds = ", ".join(type(constraint).__name__ for constraint in atoms.constraints)
        raise ValueError(
            f"{type(ensemble).__name__} cannot keep constraints ({kinds}); use NVE or Langevin, or remove them."
        )
    if ensemble.needs_stress and not atoms.pbc.all():
        raise ValueError(
            f"{type(ensemble).__name__} needs a structure periodic along all three directions, "
            f"this one has pbc {atoms.pbc.tolist()}; use Langevin or NoseHooverChain."
        )
    if ensemble.needs_stress and "stress" not in getattr(atoms.calc, "implemented_properties", ()):
        raise ValueError(
            f"{type(ensemble).__name__} needs the stress, which {type(atoms.calc).__name__} does not give; "
            "use another calculator or a constant-volume ensemble."
        )


def check_same_calculator(energy: float, state: MDState, n_atoms: int) -> None:
    """Raise ValueError where the energy at the saved positions is another, eV."""
    if abs(energy - state.potential_energy) > SAME_ENERGY * n_atoms:
        raise ValueError(
            f"at the saved positions the calculator gives {energy:.6f} eV, the saved run had "
            f"{state.potential_energy:.6f} eV: it is not the same calculator; continue with that one."
        )
