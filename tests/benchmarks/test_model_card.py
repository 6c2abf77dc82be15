"""The card of a model: errors are those of `gfm-ase evaluate`, a hole is found, marked sections alone are written."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from typer.testing import CliRunner

from benchmarks.card.dimers import compared, curve_of, grouped, overview, shape
from benchmarks.card.errors import errors_of, group_section, norms
from benchmarks.card.facts import before, journal_of
from benchmarks.card.nve import figures
from benchmarks.card.page import markers, with_section, write_sections
from benchmarks.card.parts import PARTS
from benchmarks.card.periodic_table import places
from benchmarks.card.sets import GROUPS, SetFile
from benchmarks.card.subject import Subject, number, open_subject
from benchmarks.model_card import chosen, draw
from gfm_ase.cli import app
from gfm_ase.doctor.dimers import Curve, dimer
from train.evaluation import Pairs

PAGE = Path(__file__).parents[2] / "docs" / "model.md"


def test_every_section_of_the_page_has_its_markers() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in (*PARTS, "molecules"):
        begin, end = markers(name)
        assert text.count(begin) == text.count(end) == 1
        assert text.index(begin) < text.index(end)


def test_pictures_of_the_page_are_there() -> None:
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / target).exists(), target


def test_a_section_is_written_and_nothing_else(tmp_path: Path) -> None:
    (begin, end), (other, other_end) = markers("a"), markers("b")
    page = tmp_path / "page.md"
    page.write_text(f"hand\n{begin}\nold\n{end}\nwritten\n{other}\nkept\n{other_end}\n", encoding="utf-8")
    write_sections(page, {"a": "new\n\nlines"})
    assert page.read_text(encoding="utf-8") == (
        f"hand\n{begin}\nnew\n\nlines\n{end}\nwritten\n{other}\nkept\n{other_end}\n"
    )


@pytest.mark.parametrize("text", ["", "{begin}", "{end}{begin}", "{begin}{begin}{end}"])
def test_a_page_without_its_markers_is_refused(text: str) -> None:
    begin, end = markers("a")
    with pytest.raises(ValueError, match="must hold each of the lines"):
        with_section(text.format(begin=begin, end=end), "a", "new")


def test_a_page_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not there"):
        write_sections(tmp_path / "none.md", {"a": ""})


def test_errors_are_those_of_the_command(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    subject = open_subject(checkpoint, data, tmp_path)
    found = errors_of(subject, SetFile("mlearn/known_test.extxyz.gz", "pbe_metals"))
    assert found["command"].endswith("mlearn/known_test.extxyz.gz --head pbe_metals")
    told = tmp_path / "errors.json"
    words = found["command"].replace("$GFM_ASE_DATA", str(data)).replace(checkpoint.name, str(checkpoint)).split()
    result = CliRunner().invoke(app, [*words[1:], "--json", str(told)])
    assert result.exit_code == 0, result.output
    (expected,) = json.loads(told.read_text(encoding="utf-8")).values()
    assert {key: found["errors"][key] for key in expected} == pytest.approx(expected, rel=1e-9)


def test_frames_of_unknown_elements_are_left_out_and_counted(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    subject = open_subject(checkpoint, data, tmp_path)
    with_one, without = (
        errors_of(subject, SetFile(f"mlearn/{name}_test.extxyz.gz", "pbe_metals")) for name in ("Cu", "known")
    )
    assert (with_one["frames"], with_one["left_out"], without["left_out"]) == (2, 1, 0)
    assert with_one["errors"] == without["errors"]
    assert "(1 left out)" in group_section(GROUPS["mlearn"], [with_one])


def test_norms_of_errors() -> None:
    forces = Pairs(torch.zeros(6).double(), torch.tensor([3.0, 4.0, 0.0, 0.0, 0.0, 1.0]).double(), torch.zeros(6), "")
    stress = Pairs(torch.zeros(9).double(), 2 * torch.eye(3).double().reshape(-1), torch.zeros(9), "")
    found = norms({"forces": forces, "stress": stress})
    assert found == pytest.approx({"forces_norm_eV_per_A": 3.0, "stress_norm_eV_per_A3": 12**0.5})


def test_published_numbers_stand_in_their_columns(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    subject = open_subject(checkpoint, data, tmp_path)
    ethanol = next(one for one in GROUPS["rmd17"].files if "ethanol" in one.file)
    text = group_section(GROUPS["rmd17"], [errors_of(subject, ethanol)])
    header, _, line = [line for line in text.splitlines() if line.startswith("|")]
    columns = [cell.strip() for cell in header.split("|")]
    cells = [cell.strip() for cell in line.split("|")]
    assert dict(zip(columns, cells, strict=True))["NequIP"] == "0.4/2.8"  # README of rmd17
    assert columns.count("GAP") == 1


def morse(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A Morse curve 2 eV deep at 2.2 Å, and its force."""
    grown = np.exp(-1.5 * (distances - 2.2))
    return 2 * ((1 - grown) ** 2 - 1), -2 * 2 * 1.5 * (1 - grown) * grown


def made_up(*, hole: bool = False, second: bool = False) -> Curve:
    distances = np.linspace(1.0, 6.0, 120)
    energies, forces = morse(distances)
    if hole:
        inside = distances < 1.6
        energies[inside] -= 60 * (1.6 - distances[inside]) ** 2 * 5
    if second:
        energies -= 0.4 * np.exp(-(((distances - 4.0) / 0.2) ** 2))
    return Curve(("Cu", "Cu"), distances, energies - energies[-1], forces, 2.64, 6.0)


def test_a_hole_and_a_second_minimum_of_made_up_curves_are_found() -> None:
    sound = shape(made_up())
    assert (sound["hole"], sound["minima"]) == (False, 1)
    assert sound["length"] == pytest.approx(2.2, abs=0.05)
    assert sound["depth"] == pytest.approx(2.0, abs=0.03)
    holed = shape(made_up(hole=True))
    assert holed["hole"]
    assert holed["fall"] > 1.0
    assert shape(made_up(second=True))["minima"] == 2


def test_errors_of_a_curve() -> None:
    reference = made_up()
    same = compared(reference, reference)
    assert (same["force_mae"], same["same_sign"]) == (0.0, 1.0)
    turned = Curve(reference.pair, reference.distances, reference.energies, -reference.forces, reference.bonded, 6.0)
    assert compared(turned, reference)["same_sign"] == 0.0
    rows = [same, compared(made_up(hole=True), reference)]
    assert "| holes at short range | 1 of 2 | 0 of 2 |" in overview(rows)


class Spring(Calculator):
    """E = ½ (r - 2)²."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=None) -> None:  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        way = atoms.positions[1] - atoms.positions[0]
        length = np.linalg.norm(way)
        force = -(length - 2) * way / length
        self.results = {"energy": 0.5 * (length - 2) ** 2, "forces": np.array([-force, force])}


def frames_of_springs(*lengths: float) -> list[Atoms]:
    frames = []
    for length in lengths:
        atoms = dimer(("C", "O"), length)
        atoms.calc = Spring()
        atoms.get_forces()
        frames.append(atoms)
    return frames


def test_the_force_of_a_curve_is_along_the_bond_and_positive_drives_apart() -> None:
    frames = frames_of_springs(1.5, 2.0, 2.5)
    curve = curve_of(("C", "O"), frames, [0.125, 0.0, 0.125], [atoms.get_forces() for atoms in frames])
    assert curve.forces == pytest.approx([0.5, 0.0, -0.5], abs=1e-12)
    assert curve.energies == pytest.approx([0.0, -0.125, 0.0])


def test_frames_are_grouped_by_pair_and_those_inside_are_left_out() -> None:
    (pair, frames), *others = grouped(frames_of_springs(2.5, 0.5, 1.5), with_forces=True).items()
    assert (pair, others) == (("C", "O"), [])
    assert [round(float(atoms.get_distance(0, 1)), 3) for atoms in frames] == [1.5, 2.5]


def test_drift_and_ripple_of_a_known_log() -> None:
    times = np.arange(1001.0)
    total = 1e-6 * times + 1e-4 * np.sin(2 * np.pi * times / 10)
    log = {"total_energy_eV_per_atom": total, "time_fs": times, "temperature_K": np.full(1001, 300.0)}
    found = figures({**log, "potential_energy_eV_per_atom": np.zeros(1001)}, 1.0)
    assert found["drift"] == pytest.approx(1.0, abs=0.05)
    assert found["ripple"] == pytest.approx(0.1 / 2**0.5, rel=0.02)
    assert found["temperature_K"] == 300.0


def journal(folder: Path, *rows: tuple[float, float, float]) -> Path:
    """Of a training: seconds, joules and the error of forces of each validation."""
    folder.mkdir()
    lines = [
        {"seconds": seconds, "energy_J": joules, "valid": {"a": {"forces_mae_eV_per_A": error}}}
        for seconds, joules, error in rows
    ]
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def test_journals_of_trainings_in_a_row_are_added_up(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    first = journal(tmp_path / "first", (60, 1e3, 0.3), (120, 2e3, 0.2))
    own = journal(tmp_path / "own", (30, 500, 0.1))
    model = own / "model.safetensors"
    model.write_bytes(checkpoint.read_bytes())
    found = journal_of(open_subject(model, data, tmp_path, [first]))
    assert [(row["minutes"], row["joules"], row["forces"]["a"]) for row in found] == [
        (1.0, 1e3, 0.3),
        (2.0, 2e3, 0.2),
        (2.5, 2.5e3, 0.1),
    ]
    last = before({"journal": found})
    assert last is not None
    assert (last["minutes"], last["joules"]) == (2.0, 2e3)
    assert before({"journal": journal_of(open_subject(model, data, tmp_path))}) is None
    with pytest.raises(ValueError, match=r"holds no journal\.jsonl"):
        open_subject(model, data, tmp_path, [data])


def test_all_elements_have_a_place_of_their_own() -> None:
    found = places()
    assert set(found) == set(chemical_symbols[1:104])
    assert len(set(found.values())) == 103


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.012345, "0.0123"), (1234.5, "1234"), (-3.14159, "-3.14")])
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_an_unknown_part_and_a_missing_data_folder_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="no part eros; there are facts, errors"):
        chosen("errors,eros", PARTS)
    with pytest.raises(ValueError, match="set GFM_ASE_DATA or give --data"):
        open_subject(checkpoint, tmp_path / "none", tmp_path)


@pytest.mark.slow
def test_a_card_of_a_small_model_is_drawn(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    subject: Subject = open_subject(checkpoint, data, tmp_path, quick=True)
    names = ["facts", "nve", "speed", "doctor"]
    monkey = {"ethanol", "Cu"}
    page = tmp_path / "page.md"
    page.write_text("".join("\n".join(markers(name)) + "\n" for name in names), encoding="utf-8")
    from benchmarks.card import nve, speed

    kept = (dict(nve.CASES), dict(speed.CASES), dict(speed.BATCHES))
    try:
        for cases in (nve.CASES, speed.CASES, speed.BATCHES):
            for name in [name for name in cases if name not in monkey | {"Cu 32"}]:
                del cases[name]  # type: ignore[attr-defined]
        records = {name: json.loads(json.dumps(PARTS[name].measure(subject))) for name in names}
    finally:
        for cases, all_of_them in zip((nve.CASES, speed.CASES, speed.BATCHES), kept, strict=True):
            cases.update(all_of_them)  # type: ignore[attr-defined]
    draw(records, PARTS, tmp_path / "out", page)
    text = page.read_text(encoding="utf-8")
    assert "pbe_metals" in text
    assert "32 × ethanol" in text
    assert (tmp_path / "pictures" / "model_elements.png").exists()
    assert (tmp_path / "out" / "pictures" / "model_nve.png").exists()
