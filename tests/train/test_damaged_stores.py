"""Shards that are not what was written: found before the training, by name, where that is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read, write

from train.config import DatasetConfig, RunConfig
from train.group import Group
from train.loop import train
from train.store.convert import Conversion, convert
from train.store.manifest import Description, StoreError
from train.store.reader import Store
from train.store.verified import verify_stores

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def stored(make_config: MakeConfig, tmp_path: Path) -> Callable[..., RunConfig]:
    """A run on a store of four shards."""
    make_config()
    frames = read(tmp_path / "train.extxyz", index=":")
    write(tmp_path / "all.extxyz", frames)
    config = DatasetConfig(name="emt", train=(str(tmp_path / "all.extxyz"),))
    convert(Conversion(config, Description(name="emt"), tmp_path / "all.store", shard_atoms=8))

    def make(**settings: Any) -> RunConfig:
        return make_config(dataset=[{"name": "emt", "train": "all.store", "checksums": True, **settings}])

    return make


def flip(path: Path, where: int, mask: int = 0x10) -> None:
    """Change bits of one byte, as a bad disk does."""
    content = bytearray(path.read_bytes())
    content[where] ^= mask
    path.write_bytes(content)


def shard(tmp_path: Path, number: int) -> Path:
    return tmp_path / "all.store" / Store(tmp_path / "all.store").manifest.shards[number].file


def test_whole_ones(stored: Callable[..., RunConfig]) -> None:
    told: list[tuple[str, int, int | None]] = []
    verify_stores(stored().dataset, lambda *given: told.append(given))
    assert told[-1][0] == "checksums of shards"
    assert told[-1][1] == told[-1][2] == len(told) > 2
    assert train(stored()).reason == "epochs"


def test_a_flipped_bit_is_found_before_the_training(stored: Callable[..., RunConfig], tmp_path: Path) -> None:
    damaged = shard(tmp_path, 1)
    flip(damaged, -9)
    with pytest.raises(StoreError, match=f"{damaged}: its content is not what was written") as caught:
        train(stored())
    assert f"gfm-ase data validate {tmp_path / 'all.store'} looks at them again" in str(caught.value)
    assert not stored().output.exists()


class Second(Group):
    """The second of two processes, to which the first says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.rank, self.size = 1, 2
        self.said: list[bytes] = []

    def share(self, message: bytes) -> list[bytes]:
        self.said.append(message)
        return [b"[]", message]


def test_processes_share_the_shards(stored: Callable[..., RunConfig], tmp_path: Path) -> None:
    flip(shard(tmp_path, 0), -9)
    verify_stores(stored().dataset, group=Second())  # the damaged one is another's, who says so to all
    flip(shard(tmp_path, 1), -9)
    with pytest.raises(StoreError, match="shard-000001"):
        verify_stores(stored().dataset, group=Second())


def test_many_are_counted(stored: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.store.verified.SHOWN", 2)
    shards = len(Store(tmp_path / "all.store").shards)
    for number in range(shards):
        flip(shard(tmp_path, number), -9)
    with pytest.raises(StoreError, match=f"; and {shards - 2} more. gfm-ase data validate"):
        verify_stores(stored().dataset)


def test_a_file_has_no_checksums(stored: Callable[..., RunConfig], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"checksums = true, and .*all\.extxyz is no store; make one of it"):
        train(stored(train="all.extxyz"))


def test_structures_that_are_not_where_the_shard_says(stored: Callable[..., RunConfig], tmp_path: Path) -> None:
    """Without checksums a shard is read as it is; what cannot be read is told by name, not as an index error."""
    store = Store(tmp_path / "all.store")
    path, content = shard(tmp_path, 1), shard(tmp_path, 1).read_bytes()
    first = store.shards[1]["first_atom"]
    where = content.index(np.asarray(first).tobytes())
    flip(path, where + first.itemsize + 5)
    with pytest.raises(StoreError, match=f"{path} is damaged: .* gfm-ase data validate {tmp_path / 'all.store'} looks"):
        train(stored(checksums=False))
