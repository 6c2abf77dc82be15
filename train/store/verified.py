"""Whether the shards that a run will learn from are what was written, before any time is spent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from train.config import DatasetConfig
from train.config_paths import files
from train.group import ALONE, Group
from train.sieve import Progress
from train.store.manifest import StoreError, is_store
from train.store.reader import Store

SPLITS = ("train", "valid", "test")
SHOWN = 5


def verify_stores(datasets: Sequence[DatasetConfig], progress: Progress | None = None, group: Group = ALONE) -> None:
    """Compare the shards of all stores of data sets that ask for it with their checksums.

    Args:
        datasets: of the run.
        progress: told what is done after each shard.
        group: processes that share the shards; all raise where one finds something.

    Raises:
        StoreError: shards are damaged, the first ones named.
        ValueError: a data set that asks for it has a file that is no store, which has no checksums.
    """
    stores: dict[Path, Store] = {}
    for config in datasets:
        for split in SPLITS if config.checksums else ():
            given = getattr(config, split)
            for path in files(given, Path(), f"data set {config.name!r}, {split}") if given else ():
                if not is_store(path):
                    raise ValueError(
                        f"data set {config.name!r}: checksums = true, and {path} is no store; make one of it with"
                        " gfm-ase data convert, or leave checksums out"
                    )
                stores[path] = Store(path)
    shards = [(store, number) for store in stores.values() for number in range(len(store.shards))]
    own, found = shards[group.rank :: group.size], []
    for done, (store, number) in enumerate(own, start=1):
        wrong = store.wrong(number)
        if wrong:
            found.append((str(store.folder), store.manifest.shards[number].file, wrong))
        if progress:
            progress("checksums of shards", done, len(own))
    told = group.share(json.dumps(found).encode()) if shards else []
    damaged = sorted(tuple(one) for message in told for one in json.loads(message))
    if damaged:
        raise StoreError(_sentence(damaged))


def _sentence(damaged: Sequence[tuple[str, ...]]) -> str:
    named = "; ".join(f"{folder}/{file}: {wrong}" for folder, file, wrong in damaged[:SHOWN])
    more = f"; and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
    folders = " ".join(dict.fromkeys(folder for folder, _, _ in damaged))
    return f"{named}{more}. gfm-ase data validate {folders} looks at them again once they are mended"
