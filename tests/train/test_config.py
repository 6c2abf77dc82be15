"""Run files: defaults, overrides, paths, and one sentence for each mistake."""

import json
import re
from pathlib import Path

import pytest

from potentials.backbones import BACKBONES
from train.config import DatasetConfig, LossConfig, RunConfig, dump_config, load_config

NAMES = list(BACKBONES)

SMALL = """
output = "out"
[[dataset]]
name = "acac"
train = "train.xyz"
[[dataset]]
name = "water"
train = ["a.xyz", "b*.xyz"]
valid = "v.xyz"
energy_unit = "Hartree"
length_unit = "Bohr"
e0 = { H = -0.5, O = -75 }
"""


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def mistakes(path: Path, text: str, *overrides: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the callers check the sentence
        load_config(path, overrides)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(f"{path}: ")


def test_defaults_and_heads(run_file: Path) -> None:
    config = load_config(run_file)
    assert config.output == run_file.parent / "out"
    assert config.dataset[0].train == (str(run_file.parent / "train.xyz"),)
    assert (config.dataset[0].held_back, config.dataset[1].held_back) == (0.1, 0.0)
    assert (config.loss.energy.delta, config.loss.forces.delta, config.loss.stress.weight) == (0.01, 0.05, 0.1)
    potential = config.potential_config()
    assert potential.heads == ("acac", "water")
    assert potential.backbone.name == "painn"


def test_a_table_of_the_loss_keeps_the_other_defaults_of_its_quantity(run_file: Path) -> None:
    config = load_config(run_file, ["loss.stress.kind=l1", "loss.forces.weight=10"])
    assert (config.loss.stress.kind, config.loss.stress.weight) == ("l1", 0.1)
    assert (config.loss.forces.weight, config.loss.forces.delta) == (10.0, 0.05)


@pytest.mark.parametrize("name", NAMES)
def test_the_dumped_configuration_loads_back_equal_from_anywhere(run_file: Path, tmp_path: Path, name: str) -> None:
    config = load_config(run_file, ["optimizer.clip_norm=none", f"potential.backbone.name={name}"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.json").write_text(json.dumps(dump_config(config)), encoding="utf-8")
    assert load_config(elsewhere / "config.json") == config


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("optimizer.learning_rate=1e-4", ("optimizer", "learning_rate"), 1e-4),
        ("optimizer.betas=[0.8, 0.9]", ("optimizer", "betas"), (0.8, 0.9)),
        ("batch.max_atoms = none", ("batch", "max_atoms"), None),
        ("device=cpu", ("device",), "cpu"),
        ('device="cuda:1"', ("device",), "cuda:1"),
        ("compile=false", ("compile",), False),
        ("potential.backbone.width=16", ("potential", "backbone", "width"), 16),
        (
            "potential.backbone={name = 'mace', radial_widths = [32, 16]}",
            ("potential", "backbone", "radial_widths"),
            (32, 16),
        ),
    ],
)
def test_an_override_sets_one_value(run_file: Path, override: str, path: tuple[str, ...], value: object) -> None:
    config: object = load_config(run_file, [override, "batch.max_structures=8"])
    for name in path:
        config = getattr(config, name)
    assert config == value


@pytest.mark.parametrize("entry", ["1", "water"])
def test_an_override_finds_an_entry_by_number_and_by_name(run_file: Path, entry: str) -> None:
    config = load_config(run_file, [f"dataset.{entry}.weight=2"])
    assert [dataset.weight for dataset in config.dataset] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("optimizer.learning_rate", "not of the form table.key=value"),
        ("dataset.ethanol.weight=2", "there is no ethanol; there are acac, water"),
        ("dataset.2.weight=2", "there is no 2"),
        ("dataset.weight=2", "dataset is a list"),
        ("output.folder=a", "output is a value, not a table"),
    ],
)
def test_a_wrong_override_is_named(run_file: Path, override: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_config(run_file, [override])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("optimizer.learning_rat=1", "unknown key 'learning_rat' in [optimizer]; did you mean learning_rate?"),
        ("dataset.acac.enrgy_key=E", "unknown key 'enrgy_key' in [dataset.acac]; did you mean energy_key?"),
        ("potential.backbone.widht=8", "unknown key 'widht' in [potential.backbone]; did you mean width?"),
        ("max_atoms=8", "unknown key 'max_atoms' in the run file; did you mean batch.max_atoms?"),
        ("stop.zzz=8", "unknown key 'zzz' in [stop]; it has epochs, job_end_minutes, max_minutes, patience, un"),
        (
            "potential.backbone.name=pain",
            f"potential.backbone.name is 'pain'; it must be {', '.join(NAMES[:-1])} or {NAMES[-1]}; did you mean painn",
        ),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate is -1; it must be greater than 0"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate is nan; it must be a finite number"),
        ("stop.epochs=true", "stop.epochs is True; it must be a valid integer"),
        ('stop.epochs="7"', "stop.epochs is '7'; it must be a valid integer"),
        ("device=gpu", "device: 'gpu' is given; it must be \"auto\""),
        ("output=7", "output: 7 is given; it must be the path of a folder"),
        ("dataset.water.energy_unit=J", "dataset.water.energy_unit is 'J'; it must be 'eV', 'meV', 'Hartree'"),
        ("dataset.water.e0.H=nan", "dataset.water.e0: the energy of H is nan; it must be a finite number"),
        ("dataset.water.e0.Q=1", "dataset.water.e0: 'Q' is no element symbol"),
        ("dataset.water.e0=guess", "'guess' is given; it must be \"fit\" or a table of energies"),
        ("dataset.water.train=7", "dataset.water.train: 7 is given; it must be a path or a list of paths"),
        ("dataset.water.train=[]", "dataset.water.train is empty; it must hold at least one"),
        ("dataset.water.train=['']", "a path is empty; name a file"),
        ("dataset.water.valid_fraction=0.2", "both valid and valid_fraction are given"),
        ("dataset.water.name=acac", "two data sets are called 'acac'"),
        ("dataset.water.name='a b'", "'a b' is no name; use letters, digits"),
        (
            "checkpoint_activations=true",
            "checkpoint_activations = true with compile = true: a compiled step is one list",
        ),
        ("precision=float16", "precision is 'float16'; it must be 'float32' or 'bf16'"),
        ("batch.max_atoms=none", "no bound is set; give max_atoms, max_edges or max_structures"),
    ],
)
def test_a_mistake_is_one_sentence(run_file: Path, override: str, says: str) -> None:
    message = mistakes(run_file, SMALL, override)
    assert says in message
    assert "\n" not in message


def test_several_mistakes_are_all_told(run_file: Path) -> None:
    message = mistakes(run_file, SMALL, "stop.epochs=0", "dataset.acac.wieght=2")
    assert message.count("\n  - ") == 2


def test_a_loss_without_weights_is_refused(run_file: Path) -> None:
    zero = [f"loss.{name}.weight=0" for name in ("energy", "forces", "stress")]
    assert "at least one must be greater" in mistakes(run_file, SMALL, *zero)
    assert LossConfig().energy.weight > 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('output = "o"', "dataset is missing; write dataset = ... in the run file"),
        ('[[dataset]]\nname = "a"\ntrain = "a"', "output is missing"),
        ('output = "o"\n[[dataset]]\ntrain = "a"', "dataset.0.name is missing; write name = ... in every [[dataset]]"),
        ('output = "o"\ndataset = []', "dataset is empty; it must hold at least one"),
        ('output = "o"\n[dataset]\nname = "a"', "dataset is one table; write [[dataset]], in double brackets"),
        ('output = "o"\nloss = 3\n[[dataset]]\nname = "a"\ntrain = "a"', "loss is 3; it must be a table"),
        (f'output = "o"\ndataset = "{"a" * 99}"', f"dataset is '{'a' * 76}...; it must be a list"),
        ("output = ", "is no TOML"),
    ],
)
def test_what_is_missing_is_named(run_file: Path, text: str, says: str) -> None:
    run_file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - checked below
        load_config(run_file)
    assert says in str(caught.value)


def test_files_that_are_no_run_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.toml cannot be read"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "list.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no tables"):
        load_config(tmp_path / "list.json")


def test_variables_and_home_are_expanded(run_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_FOR_TEST", "/data")
    monkeypatch.setenv("HOME", "/home/somebody")
    config = load_config(run_file, ["dataset.acac.train=['${DATA_FOR_TEST}/t.xyz', '~/t.xyz']"])
    assert config.dataset[0].train == ("/data/t.xyz", "/home/somebody/t.xyz")
    monkeypatch.delenv("DATA_FOR_TEST")
    message = mistakes(run_file, SMALL, "dataset.acac.train='${DATA_FOR_TEST}/t.xyz'")
    assert "needs the environment variable DATA_FOR_TEST, which is not set" in message


def test_the_page_of_the_room_names_every_key_and_its_example_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs/train.md").read_text(encoding="utf-8")
    monkeypatch.setenv("DATA", "/data")
    example = tmp_path / "run.toml"
    example.write_text(page.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    config = load_config(example)
    assert config.dataset[0].train == ("/data/acac/train_300K.extxyz.gz",)
    rows = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    dumped = dump_config(config)
    tables = [name for name, value in dumped.items() if isinstance(value, dict)]
    keys = [
        *dumped.keys() - {"dataset", *tables},
        *DatasetConfig.model_fields,
        *(key for t in tables for key in dumped[t]),
    ]
    assert len(keys) > 40
    assert [key for key in keys if not re.search(rf"\b{key}\b", rows)] == []


def test_in_python_a_configuration_is_built_as_any_model(tmp_path: Path) -> None:
    config = RunConfig(output=tmp_path, dataset=(DatasetConfig(name="a", train=("/a.xyz",)),))
    assert RunConfig.model_validate(dump_config(config)) == config
