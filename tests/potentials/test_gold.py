"""Every format version ever written stays readable, and says the same numbers for ever."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from potentials import checkpoint as checkpoints
from potentials.calibration import half_widths
from potentials.checkpoint import load_checkpoint
from potentials.ensemble import AnyPotential, Ensemble
from potentials.manifest import FORMAT_VERSION
from potentials.structures import graph_from_atoms

GOLD = Path(__file__).parent.parent / "gold"
FILES = sorted(GOLD.glob("checkpoint_v*.safetensors"))

DIGITS = 1e-9
"""eV, eV/Å, eV/Å³: the numbers below were computed in float64 and have 12 decimals."""

ALLOY = (
    -0.8560907872793448,
    [
        [0.009520219795, -0.001095913570, 0.003085873519],
        [0.034960296099, -0.016582806168, -0.002848399608],
        [-0.024811931410, 0.035332138475, -0.017545589463],
        [-0.019668584484, -0.017653418736, 0.017308115553],
    ],
    [-0.010003367621, -0.009474750068, -0.010403216255, -0.000685317384, 0.000318614489, -0.000870236085],
)
"""Energy, forces and Voigt stress."""

ION = (
    -194.27964294148634,
    [
        [-0.017460107205, 0.227893511474, 0.0],
        [-0.039651497013, -0.176899778362, 0.0],
        [-0.329822193011, 0.022420080411, 0.0],
        [0.035927156015, 0.224683224773, 0.0],
        [0.175503320607, -0.149048519148, 0.178815579687],
        [0.175503320607, -0.149048519148, -0.178815579687],
    ],
)
"""Energy and forces."""


OUTPUTS = {
    "charges": [
        3.5565114076628315,
        5.052824925647175,
        -1.9915610408879212,
        -2.092785138237729,
        -1.7624950770921786,
        -1.7624950770921786,
    ],
    "dipole": [[-1.6215285029247903, -5.860636095069395, 0.0]],
    "magmoms": [
        1.403245706960715,
        1.3746496401276624,
        1.3189861562581693,
        1.321471819345598,
        1.3190283157197644,
        1.3190283157197644,
    ],
    "direct_forces": [
        [-6.012673018910208, 9.666500133299543, 0.0],
        [7.140665788219986, -20.240891197922313, 0.0],
        [-3.5067413706260826, 6.246071600844029, 0.0],
        [1.9866800422526456, -22.735109164166637, 0.0],
        [0.1960342795318284, 13.53171431397269, 6.043341109653891],
        [0.1960342795318284, 13.53171431397269, -6.043341109653891],
    ],
    "gap": [5.935056370115356],
}
"""Of the ion, since format 2; multiplied by scales of up to 100."""


UNCERTAIN_ALLOY = {
    "energy_uncertainty": [2.325178421333802],
    "forces_uncertainty": [0.765022441503768, 0.23628912520953235, 0.24055055222106891, 0.2338230373400493],
    "uncertainty": [0.765022441503768],
}
UNCERTAIN_ION = {
    "energy_uncertainty": [4.67543197107614],
    "forces_uncertainty": [
        0.5894878681349364,
        0.47212097461481717,
        1.0827572353104575,
        1.075861092036497,
        1.0428845465162153,
        1.0428845465162153,
    ],
    "uncertainty": [1.0827572353104575],
}
"""Of last layers, since format 3."""

OF_ENSEMBLE = {
    "energy": [-7.520518802127054],
    "forces": [
        [-0.02010596014631182, 0.030491299509052883, -0.007068394400960978],
        [-0.11686882126498899, 0.031046522948444445, 0.017984811366037093],
        [0.0766117656956223, -0.098098911605789, 0.04795248239534013],
        [0.060363015715678536, 0.03656108914829163, -0.05886889936041625],
    ],
    "energy_uncertainty": [18.063476322225494],
    "forces_uncertainty": [0.1631182131588081, 0.3328003373914119, 0.38791488707295485, 0.2825281042281375],
    "uncertainty": [0.38791488707295485],
    "stress_uncertainty": [0.03751583322182404],
}
"""Of the alloy, since format 3."""


def evaluate(potential: AnyPotential, atoms: Atoms, head: str) -> dict[str, np.ndarray]:
    graph = graph_from_atoms(atoms, potential.cutoff, dataset=potential.head_index(head))
    return {name: value.detach().numpy() for name, value in potential.double()(graph).items()}


def crystal_and_ion() -> tuple[Atoms, Atoms]:
    alloy = bulk("Cu", cubic=True)
    alloy.numbers[0] = 13
    alloy.rattle(0.1, seed=1)
    ion = molecule("CH3OH")
    ion.info.update(charge=1.0, spin=1.0)
    return alloy, ion


def test_there_is_one_of_each_version() -> None:
    assert [path.name for path in FILES] == [f"checkpoint_v{version}.safetensors" for version in _versions()]
    assert all(path.stat().st_size < 100_000 for path in FILES)


def _versions() -> range:
    return range(1, FORMAT_VERSION + 1)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_of_its_version(path: Path) -> None:
    content, _ = checkpoints._read(path)
    assert path.stem == f"checkpoint_v{content['format_version']}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_crystal(path: Path) -> None:
    alloy, _ = crystal_and_ion()
    found = evaluate(load_checkpoint(path)[0], alloy, "emt")
    energy, forces, stress = ALLOY
    assert found["energy"][0] == pytest.approx(energy, abs=DIGITS)
    assert found["forces"] == pytest.approx(np.array(forces), abs=DIGITS)
    voigt = [found["stress"][0, row, column] for row, column in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
    assert voigt == pytest.approx(stress, abs=DIGITS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_charged_molecule(path: Path) -> None:
    _, ion = crystal_and_ion()
    found = evaluate(load_checkpoint(path)[0], ion, "xtb")
    energy, forces = ION
    assert found["energy"][0] == pytest.approx(energy, abs=DIGITS)
    assert found["forces"] == pytest.approx(np.array(forces), abs=DIGITS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_manifest(path: Path) -> None:
    _, manifest = load_checkpoint(path)
    assert tuple(manifest.heads) == ("emt", "xtb")
    assert manifest.heads["emt"].e0 == {"Al": -0.1, "Cu": -0.25}
    assert manifest.heads["xtb"].elements == ("H", "C", "O")
    assert manifest.heads["xtb"].test_errors == {"energy_mae_eV_per_atom": 0.0125}
    assert (manifest.heads["emt"].scale, manifest.heads["emt"].shift, manifest.heads["xtb"].scale) == (0.7, 0.05, 1.9)
    assert manifest.potential.charge_and_spin
    assert (manifest.cutoff, manifest.dtype, len(manifest.golden)) == (4.0, "float32", 4)


@pytest.mark.parametrize("path", FILES[1:], ids=lambda path: path.stem)
def test_outputs_of_the_charged_molecule(path: Path) -> None:
    _, ion = crystal_and_ion()
    potential, manifest = load_checkpoint(path)
    found = evaluate(potential, ion, "xtb")
    for name, values in OUTPUTS.items():
        assert found[name] == pytest.approx(np.array(values), abs=100 * DIGITS), name
    rows = {name: (row.unit, row.shape, row.level) for name, row in manifest.quantities.items()}
    assert rows["dipole"] == ("e·Å", (3,), "graph")
    assert rows["gap"] == ("eV", (), "graph")
    assert list(potential.trained_outputs("emt")) == ["magmoms", "direct_forces"]
    assert set(potential.trained_outputs("xtb")) == set(OUTPUTS)


@pytest.mark.parametrize("head", ["emt", "xtb"])
def test_uncertainties_of_a_last_layer(head: str) -> None:
    alloy, ion = crystal_and_ion()
    atoms, wanted = (alloy, UNCERTAIN_ALLOY) if head == "emt" else (ion, UNCERTAIN_ION)
    potential, manifest = load_checkpoint(FILES[2])
    found = evaluate(potential, atoms, head)
    for name, values in wanted.items():
        assert found[name] == pytest.approx(np.array(values), abs=10 * DIGITS), name
    assert set(potential.known_uncertainties(head)) == set(wanted)
    assert set(manifest.calibration) == {"emt"}
    assert manifest.members == ()


def test_an_ensemble() -> None:
    path = GOLD / "ensemble_v3.safetensors"
    assert checkpoints._read(path)[0]["format_version"] == 3
    ensemble, manifest = load_checkpoint(path)
    assert isinstance(ensemble, Ensemble)
    assert (ensemble.names, ensemble.size, ensemble.one_cutoff) == (("first", "second", "third"), 3, False)
    found = evaluate(ensemble, crystal_and_ion()[0], "emt")
    for name, values in OF_ENSEMBLE.items():
        assert found[name] == pytest.approx(np.array(values), abs=10 * DIGITS), name
    assert [record.potential.backbone.name for record in manifest.members] == ["painn", "egnn", "painn"]
    assert [record.training for record in manifest.members] == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    assert (manifest.dtype, manifest.cutoff, len(manifest.golden)) == ("float64", 4.0, 2)
    calibration = manifest.calibration["emt"]
    assert set(calibration.quantities) == {"energy", "forces", "stress"}
    forces = calibration.quantities["forces"]
    assert half_widths(forces, [0.12, 0.12], numbers=[13, 29]) == pytest.approx([2.25 * 0.13, 2.5 * 0.13], abs=DIGITS)
    assert (forces.spread, forces.structures, calibration.fingerprint) == ({"0.9": 0.05}, {"*": 40}, "cd" * 32)


def test_the_first_format_has_no_outputs() -> None:
    potential, manifest = load_checkpoint(FILES[0])
    assert potential.config.outputs == ()
    assert set(manifest.quantities) == {"energy", "energies", "forces", "stress"}
