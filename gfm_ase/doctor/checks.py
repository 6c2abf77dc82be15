"""All checks, in the order in which they are made and shown: what each means, and what to do when it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gfm_ase.doctor import (
    additivity,
    coverage,
    derivatives,
    dimers,
    dynamics,
    periodicity,
    repeats,
    smoothness,
    speed,
    symmetry,
)
from gfm_ase.doctor.contract import contract
from gfm_ase.doctor.findings import Finding
from gfm_ase.doctor.subject import Subject


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        title: for people.
        group: under which heading it stands.
        run: makes it.
        meaning: what it asks, in plain words.
        remedy: what to do when it fails or warns.
    """

    title: str
    group: str
    run: Callable[[Subject], Finding]
    meaning: str
    remedy: str


SAME, SLOPES, RANGE, DATA = "The same structure", "Energies and forces", "Distances", "Data and speed"

CHECKS: dict[str, Check] = {
    "determinism": Check(
        "Asked twice", SAME, repeats.determinism,
        "The same structure, asked twice in a row, gets the same answer to the last bit.",
        "Sums in a varying order (GPU atomics, threads) give tiny differences: ask for deterministic algorithms. Large"
        " ones mean random numbers in the model, such as dropout that was left on.",
    ),
    "state": Check(
        "Memory of other structures", SAME, repeats.state,
        "An answer does not depend on which structures were asked about before.",
        "The calculator keeps something too long, often a neighbour list. Make a new calculator for each structure, and"
        " report it to its makers.",
    ),
    "batch": Check(
        "Alone and in a batch", SAME, repeats.batch,
        "A structure in a batch has the energy and the forces that it has alone.",
        "Structures of a batch see each other: do not screen in batches with this model.",
    ),
    "noise": Check(
        "Rounding noise", SAME, repeats.noise,
        "How much energies and forces tremble as atoms move by less than anything physical.",
        "Run it in float64, at least for relaxations to small forces, phonons and elastic constants.",
    ),
    "translation": Check(
        "Moved", SAME, symmetry.translation,
        "A structure moved as a whole has the same energy and forces.",
        "Absolute positions enter the model: energies depend on where the origin is.",
    ),
    "rotation": Check(
        "Turned", SAME, symmetry.rotation,
        "A turned structure has the same energy, and its forces turn along.",
        "The model is not equivariant: average over orientations, or do not use it for molecules, polycrystals and"
        " elastic constants.",
    ),
    "reflection": Check(
        "Mirrored", SAME, symmetry.reflection,
        "A mirror image has the same energy, and mirrored forces.",
        "Left- and right-handed molecules get different energies.",
    ),
    "permutation": Check(
        "Order of atoms", SAME, symmetry.permutation,
        "It does not matter in which order the atoms are listed.",
        "The model, or its list of neighbours, depends on indices. Do not use it.",
    ),
    "lattice_move": Check(
        "Moved by lattice vectors", SAME, periodicity.lattice_move,
        "An atom and its image in another cell are one atom.",
        "Wrap all positions into the cell first, and report it to its makers.",
    ),
    "supercell": Check(
        "Supercell", SAME, periodicity.supercell,
        "Two cells side by side have twice the energy of one, and the same forces.",
        "The energy is not extensive, or neighbours in images are missed where the cell is small. Energies of cells of"
        " different size cannot be compared.",
    ),
    "isolated_atoms": Check(
        "Lone atoms", SAME, additivity.isolated_atoms,
        "An atom without neighbours has an energy and feels no force.",
        "Evaporation, adsorption and atomisation energies will break.",
    ),
    "separated": Check(
        "Far parts", SAME, additivity.separated,
        "Two parts 60 Å apart have the energies and forces of each alone.",
        "The model sees the structure as a whole: energies of reactions and of adsorption cannot be trusted. With"
        " long-range electrostatics a small difference is right.",
    ),
    "forces": Check(
        "Forces", SLOPES, derivatives.forces,
        "Forces are the slope of the energy.",
        "Forces from a direct head, or a list of neighbours that changes: relaxations may not end, and dynamics heat or"
        " cool.",
    ),
    "stress": Check(
        "Stress", SLOPES, derivatives.stress,
        "Stress is the slope of the energy as the cell is strained, in ASE's sign and order, in eV/Å³.",
        "Look at sign (compression is negative in ASE), order (xx yy zz yz xz xy) and unit (1 eV/Å³ is 160.2 GPa). Do"
        " not relax cells or run NPT until it is right.",
    ),
    "net_force": Check(
        "Forces add up to zero", SLOPES, symmetry.net_force,
        "The atoms of a structure together feel no force, and a molecule no torque.",
        "The whole structure drifts or spins up in dynamics: remove the net force, or use a model whose forces are"
        " derivatives.",
    ),
    "nve": Check(
        "Energy in dynamics", SLOPES, dynamics.nve,
        "Without a thermostat the total energy stays; its ripple falls to a quarter as the time step is halved.",
        "Where forces and smoothness pass, use a smaller time step. Otherwise the energy surface has kinks or the"
        " forces are not its slope: free energies and long runs are wrong.",
    ),
    "dimer_scan": Check(
        "Smooth between two atoms", RANGE, smoothness.dimer_scan,
        "As two atoms part, neither energy nor force jumps, at the cutoff or before it.",
        "A force that jumps costs accuracy in dynamics (a warning where it is small); an energy that jumps makes"
        " optimisers stall. Ask for a smooth cutoff.",
    ),
    "path_scan": Check(
        "Smooth among many atoms", RANGE, smoothness.path_scan,
        "As an atom moves among others, and neighbours come and go, neither energy nor force jumps.",
        "Neighbours are cut at a number, or at the cutoff without fading: raise the limit of neighbours, or use another"
        " model.",
    ),
    "dimers": Check(
        "Short distances", RANGE, dimers.holes,
        "Two atoms that come too close repel each other: there is no hole that they could fall into.",
        "Hot dynamics, random structures and radiation damage will find the hole: add a repulsive term (ZBL), or"
        " training data at short distances. Second minima are mostly harmless in dense matter.",
    ),
    "contract": Check(
        "Our contract", RANGE, contract,
        "What only the inside of a potential shows: mixed periodicity, neighbour lists, dense surroundings, float64"
        " smoothness.",
        "A checkpoint of ours should never fail here: report it, with the JSON of this page.",
    ),
    "elements": Check(
        "Elements", DATA, coverage.elements,
        "Every element of the structures was in the training data.",
        "Answers for elements never seen are noise: use another head or checkpoint, or train on them.",
    ),
    "environments": Check(
        "Surroundings", DATA, coverage.environments,
        "The surroundings of the atoms are like those in the training data.",
        "Answers for the atoms listed are extrapolated: compute some of these structures with the reference method, and"
        " add them to the training data.",
    ),
    "speed": Check(
        "Speed", DATA, speed.speed,
        "How long a call takes, for structures of several sizes.",
        "Set threads to the cores that are free, compile the model, or take a smaller one.",
    ),
}  # fmt: skip
"""Name to check."""
