"""What a run file that fine-tunes may leave out, and the sentences for what is wrong in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from potentials.checkpoint import load_checkpoint
from potentials.potential import PotentialConfig
from train.comparison import Comparison, compare
from train.config import RunConfig, load_config
from train.data import load_datasets
from train.group import ALONE
from train.inherited import check_alike
from train.moved_e0 import moved_e0
from train.progress import Reporter
from train.run import Run

MakeConfig = Callable[..., RunConfig]


def made(config: RunConfig) -> Run:
    return Run(config, load_datasets(config), Reporter())


def begun(make_config: MakeConfig, output: str = "second", **tables: Any) -> RunConfig:
    return make_config(output, **{"stop": {"epochs": 1}, **tables})


@pytest.mark.parametrize(
    ("tuning", "data", "says"),
    [
        ({"heads": {"emt": "etm"}}, {}, r"begins 'emt' from 'etm'; .* has the heads emt; did you mean emt\?"),
        ({}, {"e0": {"Cu": 0.0, "Al": 0.0, "Ag": 0.0}}, "goes on with a head of the checkpoint, whose E0 it keeps"),
        (
            {},
            {"train": "molecules.extxyz"},
            "no E0 of H, C, O, for the head 'emt' of .* give the data set another name",
        ),
        (
            {"heads": {"new": "emt"}, "references": "keep"},
            {"name": "new", "train": "molecules.extxyz"},
            r'no E0 of H, C, O, .* fine_tune\.references = "fit" fits',
        ),
        ({"freeze": ["backbone.filter"]}, {}, r"'backbone.filter' is no part of .* did you mean backbone\.filters\?"),
        ({"freeze": ["xyz"]}, {}, "there is backbone, heads, embeddings, backbone.embedding, .*branches.branches"),
        ({"freeze": ["backbone", "heads"]}, {}, "leaves nothing to learn; take something out of it"),
        ({"lora": {"layers": ["embeddings"]}}, {}, r"lora.layers = \['embeddings'\] has no dense weight"),
        ({"lora": {"layers": ["heads"]}, "freeze": ["heads"]}, {}, "has no dense weight that is not frozen"),
        ({"lora": {"layers": ["heds"]}}, {}, "fine_tune.lora.layers: 'heds' is no part .* did you mean heads"),
    ],
)
def test_mistakes(
    tuning: dict[str, Any],
    data: dict[str, Any],
    says: str,
    make_config: MakeConfig,
    pretrained: str,
    write_molecules: Callable[[int], str],
) -> None:
    write_molecules(6)
    table = {"name": "emt", "train": "train.extxyz", **data}
    with pytest.raises(ValueError, match=says):
        made(begun(make_config, dataset=[table], fine_tune={"start_from": pretrained, **tuning}))


def test_no_energy_moves_no_e0(make_config: MakeConfig, pretrained: str) -> None:
    run = made(begun(make_config, fine_tune={"start_from": pretrained}))
    for one in run.datasets[0].train:
        one.known["energy"][:] = False
    with pytest.raises(
        ValueError, match=r"no training structure has an energy; write fine_tune\.references = \"keep\""
    ):
        moved_e0(run.potential, run.datasets[0], ALONE)


def test_gradients_of_a_frozen_backbone_balance_nothing(make_config: MakeConfig, pretrained: str) -> None:
    tuning = {"start_from": pretrained, "freeze": ["backbone"]}
    with pytest.raises(ValueError, match="gradients of the backbone, which is all frozen; choose another"):
        made(begun(make_config, fine_tune=tuning, loss={"weighting": "gradient_norm"}))


def test_no_comparison_of_backbones(make_config: MakeConfig, pretrained: str, tmp_path: Path) -> None:
    config = begun(make_config, fine_tune={"start_from": pretrained})
    with pytest.raises(
        ValueError, match=r"compared from random weights, and \[fine_tune\] begins from one; take it out"
    ):
        compare(Comparison(config, ("painn", "egnn"), tmp_path / "compared"))


def test_a_checkpoint_of_another_architecture(make_config: MakeConfig, pretrained: str, tmp_path: Path) -> None:
    schnet = {"backbone": {"name": "schnet", "cutoff": 4.0, "width": 8, "depth": 2, "radial_size": 6}}
    with pytest.raises(ValueError, match=r"has potential.backbone.name = 'painn' and the run file 'schnet'"):
        made(begun(make_config, potential=schnet, fine_tune={"start_from": pretrained}))
    small = {"backbone": {"cutoff": 4.0, "width": 8, "depth": 2, "radial_size": 6}, "head_width": 8}
    with pytest.raises(ValueError, match=r"has potential.head_width = 16 and the run file 8; they must be the same"):
        made(begun(make_config, potential=small, fine_tune={"start_from": pretrained}))
    (tmp_path / "no.safetensors").write_text("no")
    for name in ("no", "absent"):
        with pytest.raises(ValueError, match=r"^fine_tune\.start_from: .*(not a checkpoint|no such file)"):
            made(begun(make_config, fine_tune={"start_from": str(tmp_path / f"{name}.safetensors")}))


def test_a_run_file_inherits_the_architecture(pretrained: str, tmp_path: Path) -> None:
    file = tmp_path / "tune.toml"
    file.write_text(
        'output = "tuned"\n[fine_tune]\nstart_from = "first/model.safetensors"\n'
        '[[dataset]]\nname = "emt"\ntrain = "train.extxyz"\n'
    )
    config, source = load_config(file), load_checkpoint(pretrained)[1].potential
    source = source.model_copy(update={"last_layer": False})  # fitted anew at the end
    assert config.potential_config() == source
    assert load_config(file, ["potential.backbone.name=painn"]).potential_config() == source
    (tmp_path / "config.json").write_text(config.model_dump_json())
    assert load_config(tmp_path / "config.json") == config
    for override, says in (
        (
            "fine_tune.start_from=none.safetensors",
            r"tune\.toml: fine_tune\.start_from: .*none\.safetensors: there is no",
        ),
        ("fine_tune.heads.neu=emt", "fine_tune.heads names 'neu', which is no data set; there is emt"),
        ("fine_tune.reference=keep", r"unknown key 'reference' in \[fine_tune\]; did you mean references\?"),
        ("fine_tune.lora.rang=2", r"unknown key 'rang' in \[fine_tune\.lora\]; did you mean rank\?"),
        ("fine_tune.lora.layers=[]", "fine_tune.lora.layers is empty; it must hold at least one"),
        ("fine_tune.start_from=3", "fine_tune.start_from is 3"),
        ("optimizer.backbone_rate=0", "optimizer.backbone_rate is 0; it must be greater than 0"),
        ("potential.start_from=a", r"unknown key 'start_from' in \[potential\]; did you mean fine_tune\.start_from\?"),
        ("parallel.tasks=true", "divides weights that are all learnt; leave out fine_tune.freeze and lora"),
        ("output=first", "which the run would write over; give another output"),
    ):
        with pytest.raises(ValueError, match=says):
            load_config(file, ["fine_tune.lora.rank=2", override])


def test_the_repulsion_of_nuclei_may_come_and_not_go() -> None:
    plain = PotentialConfig(heads=("emt",))
    repulsive = plain.model_copy(update={"repulsion": True})
    check_alike(plain, repulsive, Path("model.safetensors"))
    with pytest.raises(ValueError, match=r"has the repulsion of nuclei; set potential\.repulsion = true"):
        check_alike(repulsive, plain, Path("model.safetensors"))
