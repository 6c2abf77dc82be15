"""Search files, what trials may differ in, and who proposes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.train.searches import RATES, Searching, search_in, write_search
from train.launch import Launch
from train.search.config import load_search
from train.search.lease import Lease, Watch
from train.search.processes import Place, Share, child_environment
from train.search.rows import TrialRow, pareto_front
from train.search.scores import error_of, relative_error
from train.search.slices import launch_name
from train.search.space import Space
from train.search.study import Study

BACKBONES = """
[[parameter]]
key = "potential.backbone.width"
low = 8
high = 20
step = 8
[[parameter]]
key = "potential.backbone.name"
choices = ["painn", "gat"]
[[parameter]]
key = "potential.backbone.attention_heads"
choices = [2, 4]
"""


@pytest.fixture
def searching(tmp_path: Path) -> Searching:
    return search_in(tmp_path)


def parameter(key: str, rest: str = "choices = [1, 2]") -> str:
    return f'[[parameter]]\nkey = "{key}"\n{rest}\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "parameter is missing"),
        (f"{RATES}[budgets]\ntrials = 3", "unknown key 'budgets' in the search file; did you mean budget?"),
        (f"{RATES}[budget]\ntrails = 3", r"unknown key 'trails' in \[budget\]; did you mean trials?"),
        (parameter("seed", ""), "seed has neither choices nor a range; give choices, or low and high"),
        (parameter("seed", "choices = [1]\nlow = 2"), "seed has choices and a range; give one of them"),
        (parameter("seed", "low = 3\nhigh = 2"), "goes from 3 to 2; low must not be above high"),
        (parameter("seed", "low = 0\nhigh = 2\nlog = true"), "log = true needs low above 0 and takes no step"),
        (parameter("seed", "low = 0\nhigh = 2\nstep = -1"), "has step = -1; it must be above 0"),
        (parameter("seed", "low = 0\nhigh = 2\nstep = 0.5"), "write low and high with a point"),
        (parameter("seed", 'choices = [1]\nbackbones = ["pain"]'), "no backbone 'pain'; did you mean painn?"),
        (RATES + RATES, "parameter 'optimizer.learning_rate' is given twice"),
        (f'{RATES}[objectives]\nminimise = ["energy"]', '"error" must be among them, and each once'),
        (f'{RATES}[sampler]\nname = "nsga2"', 'sampler "nsga2" is for several objectives'),
        (f'storage = "mysql://x"\n{RATES}', 'it must be "journal" or "postgresql://user@host/database"'),
        (
            parameter("loss.forces.weight") + '[objectives]\nerror = "valid_loss"',
            "of trials that differ in loss.forces.weight cannot be compared",
        ),
    ],
)
def test_mistakes_of_a_search_file(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        load_search(write_search(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (parameter("optimizer.learning_rat"), "unknown key 'learning_rat' in .optimizer.; did you mean learning_rate?"),
        (
            parameter("potential.backbone.widht"),
            r"no backbone of the search \(painn\) has .*widht; did you mean width?",
        ),
        (parameter("potential.backbone.attention_heads"), "no backbone of the search"),
        (parameter("potential.backbone.name", 'choices = ["paint"]'), "did you mean painn"),
        (parameter("potential.backbone.name", "low = 1\nhigh = 2"), "is a list of choices, and is asked always"),
        (
            parameter("dataset.emt.max_force"),
            "errors would be of other structures; of a data set weight and repeat can",
        ),
        (parameter("dataset.other.weight"), "there is no other; there are emt"),
        (parameter("stop.epochs"), "stop.epochs cannot be a parameter"),
        (parameter("optimizer.learning_rate", "low = -1.0\nhigh = 1.0"), "learning_rate is -1.0"),
        (parameter("batch.max_atoms", 'choices = ["many"]'), "max_atoms"),
        (f'{RATES}[objectives]\nerror = "valid/other/forces_mae_eV_per_A"', 'it must be "relative", or a column'),
        (f'{RATES}[sampler]\nname = "grid"', 'sampler "grid" needs a step of optimizer.learning_rate, or choices'),
    ],
)
def test_wrong_addresses_and_values_are_told_before_the_first_trial(text: str, told: str, searching: Searching) -> None:
    search = searching(text)
    with pytest.raises(ValueError, match=told):
        Study(search)


def test_trials_need_validation_structures(tmp_path: Path, searching: Searching) -> None:
    search = searching()
    run = (tmp_path / "run.toml").read_text().replace('valid = "valid.extxyz"', "valid_fraction = 0.0")
    with pytest.raises(ValueError, match="'emt' has no validation structures, and trials are judged by their errors"):
        Study(searching(run=run))
    run = run.replace("valid_fraction = 0.0", "")
    with pytest.raises(ValueError, match="seed cannot be a parameter where it chooses the validation structures"):
        Study(searching(parameter("seed"), run=run))
    assert search.storage == "journal"


class Fixed:
    """Proposes what it was given, and remembers what it was asked."""

    def __init__(self, **values: Any) -> None:
        self.values, self.asked = values, []  # type: ignore[var-annotated]

    def _say(self, name: str) -> Any:
        self.asked.append(name)
        return self.values[name.rsplit(".", maxsplit=1)[-1]]

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._say(name)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        assert (low, high, step) == (8, 16, 8)  # the range ends on a step
        return int(self._say(name))

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return float(self._say(name))


def test_a_parameter_of_another_backbone_is_not_asked(searching: Searching, tmp_path: Path) -> None:
    space = Space(searching(BACKBONES))
    values = space.propose(Fixed(name="painn", width=16))
    assert values == {"potential.backbone.name": "painn", "potential.backbone.width": 16}
    values = space.propose(Fixed(name="gat", width=8, attention_heads="4"))
    assert values["potential.backbone.attention_heads"] == 4
    backbone = space.config(values, tmp_path / "x").potential.backbone
    # what the run file sets for its own backbone holds for another as far as it has it
    assert (backbone.name, backbone.width, backbone.depth) == ("gat", 8, 1)


def test_all_combinations(searching: Searching) -> None:
    grid = Space(searching(BACKBONES)).grid()
    assert len(grid) == 2 + 2 * 2  # the widths of painn; those of gat with two numbers of heads each


def test_ranges_of_single_backbones(searching: Searching) -> None:
    text = BACKBONES.replace("step = 8", 'step = 8\nbackbones = ["gat"]')
    space = Space(searching(text))
    asked = Fixed(name="painn")
    assert space.propose(asked) == {"potential.backbone.name": "painn"}


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "grid"])
def test_proposals_depend_on_the_number_alone(sampler: str, searching: Searching, tmp_path: Path) -> None:
    text = f'{BACKBONES}[objectives]\nminimise = ["error", "inference"]\n[sampler]\nname = "{sampler}"\nstartup = 2\n'
    found = []
    for name in ("one", "two"):
        search = searching(text).model_copy(update={"output": tmp_path / name})
        own = []
        for number in range(6):
            study = Study(search)  # another worker each time
            with study.locked():
                before = study.rows()
                proposed = study.proposals.ask(study.space, before)
                assert proposed is not None
                assert proposed[0] == number
                folder = study.begin(*proposed)
                row = before_end = TrialRow(number=number, state="finished", values=proposed[1], of_epochs=4)
                done = before_end.model_copy(update={"error": 1.0 + number, "inference_s_per_atom": 1e-3})
                (folder / "row.json").write_text(done.model_dump_json(), encoding="utf-8")
                study.settle()
                own.append(row.values)
        if sampler == "grid":
            assert all(values not in own[:place] for place, values in enumerate(own))
            assert study.proposals.ask(study.space, study.rows()) is None
        found.append(own)
    assert found[0] == found[1]


def test_relative_errors() -> None:
    errors = {"energy_mae_eV_per_atom": 0.2, "trivial_energy_mae_eV_per_atom": 0.4, "total_energy_mae_eV": 9.0}
    more = {**errors, "forces_mae_eV_per_A": 1.0, "trivial_forces_mae_eV_per_A": 1.0, "forces_rmse_eV_per_A": 7.0}
    assert relative_error({"one": errors}) == pytest.approx(0.5)
    assert relative_error({"one": errors, "two": more}) == pytest.approx((0.5 + 0.75) / 2)
    with pytest.raises(ValueError, match="no validation structure has a label that the trivial predictor misses"):
        relative_error({"one": {"total_energy_mae_eV": 1.0}})
    row = {"valid": {"one": errors}, "valid_loss": 3.0}
    assert error_of(row, "valid/one/energy_mae_eV_per_atom") == 0.2
    assert error_of(row, "valid_loss") == 3.0
    with pytest.raises(ValueError, match="is no number of the journal; there are valid/one/energy_mae_eV_per_atom"):
        error_of(row, "valid/one/forces_mae_eV_per_A")


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    rows = [
        TrialRow(number=number, state="finished", error=error, energy_J=energy)
        for number, (error, energy) in enumerate(points)
    ]
    return [row.number for row in pareto_front(rows, ("error", "energy"))]


def test_the_front() -> None:
    assert front([(1.0, 5.0), (2.0, 4.0), (3.0, 4.5), (4.0, 1.0)]) == [0, 1, 3]
    assert front([(1.0, 5.0), (1.0, 5.0)]) == [0]
    assert front([(1.0, 5.0), (1.0, 4.0), (0.5, 9.0)]) == [2, 1]
    failed = TrialRow(number=7, state="stopped", error=0.0, energy_J=0.0)
    assert pareto_front([failed], ("error", "energy")) == []


def test_a_worker_elsewhere_is_dead_when_it_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(tmp_path)
    watch = Watch(10.0)
    clock = iter([0.0, 5.0, 6.0, 15.0, 17.0, 99.0])
    monkeypatch.setattr("train.search.lease.time.monotonic", lambda: next(clock))
    assert not watch.free(tmp_path)  # here its process can be seen
    monkeypatch.setattr("train.search.lease.this_place", lambda: "elsewhere")
    assert not watch.free(tmp_path)  # first seen at 0 s
    assert not watch.free(tmp_path)  # at 5 s
    os.utime(tmp_path / "lease.json")  # a sign of life, seen at 6 s
    assert not watch.free(tmp_path)
    assert not watch.free(tmp_path)  # at 15 s
    assert watch.free(tmp_path)  # at 17 s, 11 s later
    Lease(tmp_path)
    assert lease.lost()


def test_what_a_launcher_said_is_not_for_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"PMI_RANK": "3", "PMI_SIZE": "4", "SLURM_PROCID": "3", "SLURM_JOB_END_TIME": "9", "PATH": "/bin"}
    given |= {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    own = child_environment(Place(1, 2, 1, 2, "here", 20_001), Share(3, 4), given)
    threads = own.pop("OMP_NUM_THREADS")
    assert int(threads) >= 1
    assert own == {
        "PATH": "/bin",
        "SLURM_JOB_END_TIME": "9",
        "CUDA_VISIBLE_DEVICES": "3",
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "here",
        "MASTER_PORT": "20001",
    }
    assert child_environment(None, Share(), {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": ""}) == {
        "OMP_NUM_THREADS": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }


def test_the_name_of_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_RESTART_COUNT": "2"}
    assert launch_name(Launch("srun", 0, 4), slurm) == "7-0-2"
    assert launch_name(Launch("torchrun", 0, 4), {"MASTER_ADDR": "a.b", "MASTER_PORT": "1"}) == "a.b-1"
    monkeypatch.setitem(__import__("sys").modules, "mpi4py", None)
    with pytest.raises(ValueError, match="mpiexec started 4 processes and does not say which launch they are"):
        launch_name(Launch("mpiexec", 0, 4), {})


def test_without_optuna(searching: Searching, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searching()
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ValueError, match=r"a search needs the extra hpo: pip install 'gfm-ase\[hpo\]'"):
        Study(search)
