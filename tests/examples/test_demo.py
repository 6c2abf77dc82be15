"""The demo as a user starts it, quick; and what decides whether it fails."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from examples.demo import __main__ as demo
from examples.demo.judgement import LEAST_FACTORS, UNITS, judge, shortfalls
from examples.demo.page import banner, paragraph, table
from examples.demo.report_of_runs import MINUS, signed
from examples.demo.settings import FULL, METALS, QUICK
from examples.demo.structures import ALLOYS
from gfm_ase import load
from train.config import load_config

ROOT = Path(__file__).parents[2]
Errors = dict[str, dict[str, float]]


def run_demo(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.demo", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_quick_demo_goes_the_whole_way(tmp_path: Path) -> None:
    """One test, for one run of it: processes that share the tests out would each run it again."""
    pytest.importorskip("tblite", reason="GFN2-xTB labels need tblite")
    pytest.importorskip("matplotlib", reason="the page has plots")
    (tmp_path / demo.MARK).touch()
    (tmp_path / "stale.txt").write_text("of an earlier demo")
    done = run_demo("--quick", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    check_what_is_left(tmp_path)
    check_what_is_said(tmp_path, done.stdout)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    check_the_page_has_all_parts_and_stands_alone(page)
    check_the_page_has_every_error_and_every_alloy(page)


def check_what_is_left(folder: Path) -> None:
    left = {path.name for path in folder.iterdir()}
    assert left == {demo.MARK, "data", "md", "report.html", "run", "run.toml", "screening"}
    assert load(folder / "run" / "model.safetensors").potential.heads == tuple(LEAST_FACTORS)
    assert load_config(folder / "run.toml").stop.epochs == QUICK.epochs


def check_what_is_said(folder: Path, said: str) -> None:
    assert str(folder / "report.html") in said.replace("\n", "")
    for name in LEAST_FACTORS:
        assert re.search(rf"{name} .*forces", said)


class Outline(HTMLParser):
    """Headings, pictures and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.fetched: list[str] = []
        self.pictures = 0
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within = tag
        if tag == "img":
            self.pictures += 1
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        if self._within in {"h1", "h2", "h3"} and data.strip():
            self.headings.append(data.strip())


def check_the_page_has_all_parts_and_stands_alone(text: str) -> None:
    outline = Outline()
    outline.feed(text)
    assert outline.headings == [
        "gfm-ase: from structures to a running simulation",
        "What was done",
        "Time",
        "Errors on structures held back from training",
        "Learning curves",
        "Molecular dynamics",
        "NVE of ethanol",
        "Langevin dynamics of Cu₃Au",
        "Relaxed cells",
        "Screening",
        "The run file",
    ]
    assert outline.pictures == 6  # two of parity, learning curves, two simulations, formation energies
    assert all(source.startswith("data:image/svg+xml;base64,") for source in outline.fetched)
    assert "<script" not in text
    assert "@import" not in text


def check_the_page_has_every_error_and_every_alloy(text: str) -> None:
    for name, factors in LEAST_FACTORS.items():
        for quantity, factor in factors.items():
            row = rf">{name}</td><td class=\"text\">{quantity}, [^<]*</td>(<td>[^<]+</td>){{4}}<td>{factor:g} ×</td>"
            assert re.search(row, text), (name, quantity)
    for metal in METALS[: QUICK.metals]:
        assert f'<td class="text">{metal}</td>' in text
    assert len(re.findall(r">(?:converged|not converged|failed)</td><td>", text)) == 4
    assert re.search(r'CuFe</td><td class="text bad">failed</td>.*never seen Fe', text)
    assert 'name = "molecules_gfn2"' in text


def errors_of(factor: float) -> Errors:
    """Errors that lie `factor` times below the trivial ones, of all that is judged."""
    found: Errors = {}
    for name, factors in LEAST_FACTORS.items():
        found[name] = {}
        for quantity in factors:
            unit = UNITS[quantity][0]
            found[name] |= {f"{quantity}_mae_{unit}": 0.01, f"{quantity}_rmse_{unit}": 0.02}
            found[name][f"trivial_{quantity}_mae_{unit}"] = 0.01 * factor
    return found


def test_an_error_must_lie_below_the_trivial_one_by_the_factor_of_its_quantity() -> None:
    largest = max(factor for factors in LEAST_FACTORS.values() for factor in factors.values())
    assert shortfalls(judge(errors_of(1.001 * largest))) == []
    smallest = min(factor for factors in LEAST_FACTORS.values() for factor in factors.values())
    verdicts = judge(errors_of(0.999 * smallest))
    assert len(shortfalls(verdicts)) == len(verdicts) == 5
    assert not any(verdict.passed for verdict in verdicts)


def test_an_error_that_is_no_number_fails() -> None:
    errors = errors_of(1000.0)
    errors["metals_emt"]["forces_mae_eV_per_A"] = float("nan")
    assert [verdict.quantity for verdict in judge(errors) if not verdict.passed] == ["forces"]


def test_what_fails_is_said_with_both_numbers_and_the_factor() -> None:
    errors = {"x": {"forces_mae_eV_per_A": 0.5, "forces_rmse_eV_per_A": 0.6, "trivial_forces_mae_eV_per_A": 1.0}}
    assert shortfalls(judge(errors, {"x": {"forces": 4.0}})) == [
        "x: the forces error 500 meV/Å is only 2.0 times below that of zero force (1e+03); at least 4 times is demanded"
    ]


def test_an_error_that_was_not_measured_cannot_be_judged() -> None:
    errors = errors_of(100.0)
    del errors["metals_emt"]["stress_mae_eV_per_A3"]
    with pytest.raises(ValueError, match="stress_mae_eV_per_A3 of metals_emt was not measured"):
        judge(errors)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """In place of the page: what it would have told."""
    written: list[object] = []
    monkeypatch.setattr("examples.demo.report.write_report", lambda path, story: written.append(story))
    return written


class Hollow:
    """A story without anything in it but what decides about the exit code."""

    def __init__(self, errors: Errors, *, enforced: bool) -> None:
        self.settings = replace(FULL, enforced=enforced)
        self.verdicts = judge(errors)
        result = SimpleNamespace(reason="max_minutes")
        self.trained = SimpleNamespace(predictions={}, checkpoint=Path("model.safetensors"), result=result)


@pytest.mark.parametrize(("factor", "enforced", "code"), [(1000.0, True, 0), (1.0, True, 1), (1.0, False, 0)])
def test_the_demo_fails_when_its_factors_are_missed_and_still_writes_the_page(
    told: list[object], tmp_path: Path, factor: float, enforced: bool, code: int
) -> None:
    story = Hollow(errors_of(factor), enforced=enforced)
    console = Console(width=300, record=True, quiet=False, file=(tmp_path / "said").open("w"))
    assert demo.conclude(tmp_path / "report.html", story, console) == code  # type: ignore[arg-type]  # a hollow one
    assert told == [story]
    said = console.export_text()
    console.file.close()
    assert said.count("failed: ") == (5 if code else 0)
    assert ("cut short after 2.5 minutes: is the machine busy?" in said) == bool(code)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds files that no demo has made; name an empty folder or a new one"):
        demo.prepare(tmp_path)
    with pytest.raises(ValueError, match=r"thesis\.tex is a file; name a folder"):
        demo.prepare(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_cannot_be_done_is_one_red_sentence_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    done = run_demo("--quick", "--output", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path} holds files that no demo has made")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("module", "sentence"), [("tblite.ase", "tblite is missing"), ("matplotlib.figure", "report")])
def test_a_missing_extra_is_told_before_anything_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, sentence: str
) -> None:
    pytest.importorskip("tblite")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=sentence):
        demo.run(tmp_path / "new", QUICK, Console(quiet=True))
    assert not (tmp_path / "new").exists()


def test_help_names_the_options() -> None:
    done = run_demo("--help")
    assert done.returncode == 0
    for option in ("--output", "--quick", "--seed"):
        assert option in done.stdout


def test_words_of_the_page_are_escaped() -> None:
    assert paragraph("a < b & `c < d`") == "<p>a &lt; b &amp; <code>c &lt; d</code></p>"
    assert "<td>&lt;i&gt;</td>" in table(("a", "b"), [("x", "<i>")])
    assert "&lt;x&gt;" in banner(passed=False, lines=["<x>"])


def test_numbers_of_the_page_have_a_minus_of_print_and_no_minus_zero() -> None:
    assert signed(-1.25, ".1f") == f"{MINUS}1.2"
    assert signed(-0.01, ".1f") == "0.0"
    assert signed(2.0, ".1f") == "2.0"


def test_metals_of_the_screening_are_in_the_training_set_as_pure_ones() -> None:
    assert set(METALS) <= set(ALLOYS)
