"""Reporters of many runs: what each would be told alone, the same bytes after a kill, and one run's trouble its own."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import read

from md_workflows import BatchFiles, MDGuards, MDSettings, run_md, run_md_many
from md_workflows.analysis.rdf import RDF
from md_workflows.batched.dynamics.packing import packed, unpacked
from md_workflows.batched.dynamics.state import BatchState
from md_workflows.snapshot import Snapshot
from tests.md_workflows.pair_model import pair_model
from tests.md_workflows.test_md_many import crystals, different, ordered
from tests.md_workflows.test_md_many_restart import Killed, contents, model, run
from tests.md_workflows.test_reports import TABLES, WISHES, NoStress

SURE = [wish for wish in WISHES if "uncertainty" not in str(wish)]
"""Of models that tell no uncertainty; its reports are in `test_uncertainty_many`."""

EVERY = [{"interval": 2, **({"name": wish} if isinstance(wish, str) else wish)} for wish in SURE]


def test_each_run_is_told_of_as_if_it_were_alone(tmp_path: Path) -> None:
    structures, settings = crystals(3), different("nve", 3)
    outcomes = ordered(list(run_md_many(structures, settings, calculator=EMT(), files=tmp_path, reporters=EVERY)))
    for outcome, atoms, own in zip(outcomes, structures, settings, strict=True):
        oracle = run_md(atoms, own, calculator=EMT(), reporters=EVERY)
        assert (set(outcome.reports), outcome.unwritten) == (set(oracle.reports), oracle.unwritten)
        for name, reporter in oracle.reports.items():
            for table, columns in reporter.tables().items():
                assert (tmp_path / f"{outcome.index:06d}.{table}.csv").exists()
                found = outcome.reports[name].tables()[table]
                for column, values in columns.items():
                    if isinstance(values[0], str):
                        assert list(found[column]) == list(values)
                    else:  # positions differ by less than 1e-12 Å from those of ASE's integrator
                        np.testing.assert_allclose(found[column], values, rtol=1e-7, atol=1e-9, err_msg=column)


def test_killed_anywhere_the_tables_are_the_same_bytes(tmp_path: Path) -> None:
    """Some have ended, some are on their way, some have not begun; and twice in a row."""
    whole = run(tmp_path / "whole", reporters=EVERY)
    assert {f"000008.{table}.csv" for table in TABLES if table != "uncertainty"} <= set(contents(tmp_path / "whole"))
    for calls in (4, 23, 60):
        parts = tmp_path / f"parts-{calls}"
        with pytest.raises(Killed):
            run(parts, calculator=model(calls), reporters=EVERY)
        if calls == 23:
            with pytest.raises(Killed):
                run(parts, calculator=model(9), on_existing="restart", reporters=EVERY)
        again = run(parts, on_existing="restart", reporters=EVERY)
        assert contents(parts) == contents(tmp_path / "whole")
        for one, other in zip(again, whole, strict=True):
            told = [[repr(reporter.findings()) for reporter in found.reports.values()] for found in (one, other)]
            assert told[0] == told[1]


def test_reporters_change_nothing_and_go_on_with_more_steps(tmp_path: Path) -> None:
    atoms = crystals(1)
    long = MDSettings(ensemble={"name": "nve"}, steps=40, initial_temperature_K=300, state_interval=10)
    short = long.model_copy(update={"steps": 20})
    given = {"calculator": pair_model(), "reporters": EVERY}
    whole = ordered(list(run_md_many(atoms, long, files=tmp_path / "whole", **given)))
    list(run_md_many(atoms, short, files=tmp_path / "parts", **given))
    list(run_md_many(atoms, long, files=tmp_path / "parts", on_existing="restart", **given))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    plain = ordered(list(run_md_many(atoms, long, calculator=pair_model())))
    for one, other in zip(plain, whole, strict=True):
        assert np.array_equal(one.atoms.positions, other.atoms.positions)
        assert one.reports == {}


def test_other_reporters_are_refused_and_tables_replaced_with_all(tmp_path: Path) -> None:
    run(tmp_path, reporters=["rdf"])
    other = [{"name": "rdf", "cutoff": 5.0}]
    with pytest.raises(ValueError, match=r"settings.reporters.rdf.cutoff: saved 8.0, given 5.0"):
        run(tmp_path, on_existing="restart", reporters=other)
    with pytest.raises(ValueError, match=r"settings.reporters.rdf.cutoff: saved 8.0, given nothing"):
        run(tmp_path, on_existing="restart")
    assert (tmp_path / "000003.rdf.csv").exists()
    run(tmp_path, on_existing="overwrite")
    assert not list(tmp_path.glob("*.rdf.csv"))
    (tmp_path / "state.npz").unlink()
    (tmp_path / "000003.msd.csv").write_text("of an earlier batch")
    with pytest.raises(ValueError, match=r"holds .* more files of such runs"):
        run(tmp_path)


def test_what_makes_no_sense_is_told_before_the_start() -> None:
    settings = MDSettings(ensemble={"name": "nve"}, steps=2)
    with pytest.raises(ValueError, match="there is no report 'rdff'"):
        run_md_many(crystals(2), settings, calculator=EMT(), reporters=["rdff"])
    with pytest.raises(ValueError, match="the report pressure needs the stress, which NoStress does not give"):
        run_md_many(crystals(2), settings, calculator=NoStress(), reporters=["pressure"])


def test_a_run_that_cannot_be_reported_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    structures = [molecule("CO"), *crystals(2)]  # no cell, copper, silver
    settings = MDSettings(ensemble={"name": "nve"}, steps=6, initial_temperature_K=300, trajectory_interval=1)
    take = RDF._take

    def refuse(self: RDF, snapshot: Snapshot) -> None:
        if snapshot.step == 3 and "Ag" in self.elements:
            raise ValueError("the report rdf has seen enough")
        take(self, snapshot)

    monkeypatch.setattr(RDF, "_take", refuse)
    wishes = ["pressure", {"name": "rdf", "interval": 3}]
    outcomes = ordered(list(run_md_many(structures, settings, calculator=EMT(), files=tmp_path, reporters=wishes)))
    assert "the report pressure needs a structure that repeats in all three" in outcomes[0].stopped
    assert (outcomes[0].atoms, outcomes[0].reports, outcomes[0].unwritten) == (None, {}, {})
    assert (outcomes[1].steps, outcomes[1].stopped) == (6, "")
    assert outcomes[2].stopped == "step 3: ValueError: the report rdf has seen enough"
    assert outcomes[2].steps == 2
    assert len(read(tmp_path / "000002.extxyz", index=":")) == 3
    for name in ("pressure", "rdf"):
        assert [(tmp_path / f"00000{key}.{name}.csv").exists() for key in range(3)] == [False, True, True]


def test_a_stopped_run_is_told_of_until_it_stopped() -> None:
    """Of one that is stopped at once there is nothing to tell, and a short one says what is missing."""
    settings = MDSettings(ensemble={"name": "nve"}, steps=6, initial_temperature_K=300)
    wishes = [{"name": "temperature", "interval": 1}, "msd"]
    guards = [MDGuards(), MDGuards(max_temperature_K=1)]
    calm, hot = ordered(list(run_md_many(crystals(2), settings, calculator=EMT(), guards=guards, reporters=wishes)))
    assert "needs at least three frames, 1 were seen" in calm.unwritten["msd"]
    assert calm.reports["temperature"].findings()[0].value > 0
    assert hot.stopped.startswith("step 0: the temperature reached")
    assert (hot.atoms, hot.reports, hot.unwritten) == (None, {}, {})


def test_packed_arrays_are_what_they_were_and_damage_is_seen() -> None:
    arrays = {
        "a/text": np.array(""),
        "b": np.arange(6.0).reshape(2, 3)[:, ::2],
        "c": np.array(True),
        "none": np.zeros((0, 3)),
    }
    index, row = packed(arrays)
    found = unpacked(index, row)
    assert list(found) == list(arrays)
    for name, values in arrays.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)
        assert np.array_equal(found[name], values)
    with pytest.raises(ValueError, match="none is not among the packed arrays"):
        unpacked([*index[:-1], ("none", "<f8", [1, 3])], row)
    with pytest.raises(ValueError, match="b is not among"):
        unpacked([index[0], ("b", "|O", [1])], row)
    with pytest.raises(ValueError, match="1 bytes belong to none"):
        unpacked(index, np.append(row, np.uint8(0)))
    assert unpacked(*packed({})) == {}


def test_a_state_holds_reports_in_few_entries(tmp_path: Path) -> None:
    run(BatchFiles(tmp_path), reporters=EVERY)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as stored:
        assert sum("reports" in name for name in stored.files) == 1
    state = BatchState.load(tmp_path / "state.npz", model().device)
    assert {name.partition("/")[0] for name in state.reports} == {str(key) for key in range(9)}
