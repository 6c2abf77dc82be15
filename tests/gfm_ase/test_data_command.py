"""`gfm-ase data convert` of a published layout: theory, licence and what was left out are in the manifest."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gfm_ase.cli import app


def entry(number: int, forces: float) -> dict[str, object]:
    """MatPES, shortened to what is read."""
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "xyz": place, "label": symbol}
        for symbol, place in (("Na", [0.1 * number, 0.0, 0.0]), ("Cl", [2.0, 2.0, 2.5]))
    ]
    return {
        "matpes_id": f"matpes-{number}",
        "functional": "r2SCAN",
        "energy": -7.5,
        "forces": [[forces, 0.0, 0.0], [-forces, 0.0, 0.0]],
        "stress": [1.0, 2.0, 3.0, 0.0, 0.0, 0.0],
        "structure": {"lattice": {"matrix": [[4, 0, 0], [0, 4, 0], [0, 0, 5]]}, "sites": sites},
    }


def test_matpes_into_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    entries = [entry(0, 0.5), entry(0, 0.5), entry(1, 90.0), entry(2, float("nan"))]
    Path("matpes.json").write_text(json.dumps(entries).replace("NaN", '"not converged"'))
    words = [
        "data",
        "convert",
        "matpes.json",
        "-o",
        "matpes.store",
        "--set",
        "format=matpes_r2scan",
        "--max-force",
        "50",
    ]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 1
    assert "matpes.json" in str(refused.exception or refused.output) + refused.output
    done = CliRunner().invoke(app, [*words, "--drop-bad", "--drop-duplicates", "--licence", "asked for"])
    assert done.exit_code == 0, done.output
    manifest = json.loads(Path("matpes.store/manifest.json").read_text())
    assert manifest["about"] == {
        "name": "matpes",
        "theory": "r²SCAN (MatPESStaticSet), energies extrapolated to zero smearing",
        "licence": "asked for",
        "citation": "Kaplan et al., arXiv:2503.04070 (2025)",
        "source": "https://matpes.ai",
    }
    assert manifest["left_out"] == {"duplicate": 1, "force above max_force": 1, "bad label": 1}
    assert manifest["quantities"]["stress"]["known"] == 1
