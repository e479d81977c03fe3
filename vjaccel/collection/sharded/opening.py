"""Opening a sharded collection, or making one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from vjaccel.arrays import check
from vjaccel.arrays.protocol import Metric
from vjaccel.collection.arrow import lance
from vjaccel.collection.disk import Durability, written
from vjaccel.collection.durable import synced
from vjaccel.collection.locks import LOCKS, Locks
from vjaccel.collection.opening import (
    MANIFEST,
    check_options,
    check_same,
    create_dataset,
    described,
    has_dataset,
    local_folder,
    memory_bytes,
    new_description,
)
from vjaccel.collection.sharded.asking import InThreads
from vjaccel.collection.sharded.manifest import Manifest, shard_folder
from vjaccel.collection.sharded.shard import Opened
from vjaccel.collection.sharded.store import ShardedStore
from vjaccel.collection.store import Description
from vjaccel.errors import FileFormatError, InvalidInput

__all__ = ["Place", "is_sharded", "make_shards", "open_shards", "there"]

Place = Literal["threads", "ray"]

_NEEDS_LANCE = "a sharded collection"


def is_sharded(uri: str) -> bool:
    """Whether there is a sharded collection at `uri`."""
    folder = local_folder(uri)
    return folder is not None and (folder / MANIFEST).exists()


def open_shards(
    uri: str,
    dim: int | None,
    metric: str | Metric | None,
    shards: int | None,
    *,
    create: bool,
    backend: str | None,
    memory_limit: int | None,
    durability: Durability | None,
    model: dict[str, Any] | None,
    on: Place,
    address: str | None,
) -> ShardedStore:
    """The sharded collection at `uri`; with `create`, a new one where there is none.

    Raises
    ------
    InvalidInput
        There is none, or it is of another width, metric, model or number of shards; an option is none; `uri` is not in a
        local folder.
    FileFormatError
        What is there is no sharded collection.
    MissingExtra, ClusterError, UnknownBackend, BackendUnavailable
    """
    check_options(backend, durability)
    if on not in ("threads", "ray"):
        raise InvalidInput(f"on={on!r} is neither 'threads' nor 'ray'")
    if address is not None and on != "ray":
        raise InvalidInput("address is that of a Ray cluster: it needs on='ray'")
    limit = memory_bytes(memory_limit)
    count = None if shards is None else check.count(shards, "shards")
    lance(_NEEDS_LANCE)  # what is missing is said before anything else
    folder, sync = local_folder(uri), durability != "process"
    if folder is None:
        raise InvalidInput(
            f"a sharded collection is in a local folder, or in one that all nodes mount, and not at {uri}"
        )
    if not _there(folder):
        if not create:
            raise InvalidInput(f"there is no sharded collection at {uri}; create=True makes one")
        if count is None:
            raise InvalidInput(f"a new sharded collection at {uri} needs shards, how many there are to be")
        description = new_description(uri, dim, metric, model)
        with written(uri):
            _create(folder, description, count, sync)
    now = Manifest.read(folder)
    check_same(uri, now.description, dim, metric, model)
    if count is not None and count != len(now.versions):
        raise InvalidInput(
            f"shards={count} contradicts the collection at {uri}, which has {len(now.versions)}; reshard adds some"
        )
    how = Opened(str(folder), backend, limit, sync)
    if on == "threads":
        return ShardedStore(folder, now.description, InThreads(how), sync=sync)
    from vjaccel.collection.sharded.on_ray import OnRay

    return ShardedStore(folder, now.description, OnRay(how, address), sync=sync)


def there(uri: str) -> bool:
    """Whether there is a sharded collection at `uri`.

    Raises
    ------
    FileFormatError
        There is something else.
    """
    folder = local_folder(uri)
    return folder is not None and _there(folder)


def make_shards(folder: Path, description: Description, numbers: range) -> tuple[int, ...]:
    """Empty shards with these numbers, and the version of each. One that a call has left that was killed is taken.

    Raises
    ------
    FileFormatError
        What is there is something else.
    """
    module, versions = lance(_NEEDS_LANCE), []
    for number in numbers:
        place = shard_folder(folder, number)
        if not has_dataset(place):
            create_dataset(module, str(place), place, description, shard=True)
        dataset = module.dataset(str(place))
        if described(str(place), dataset, shard=True) != description or dataset.count_rows():
            raise FileFormatError(f"{place} is of another collection: remove it, if nobody needs it")
        versions.append(int(dataset.version))
    return tuple(versions)


def _there(folder: Path) -> bool:
    if folder.is_file():
        raise FileFormatError(f"{folder} is a file; a sharded collection is a folder")
    if (folder / MANIFEST).exists():
        return True
    if has_dataset(folder):
        raise FileFormatError(f"{folder} is a collection that is not sharded: open it with vj.Collection.open")
    if folder.is_dir():
        others = {path.name for path in folder.iterdir()} - LOCKS - {f"{MANIFEST}.new"}
        if any(not name.startswith("shard-") for name in others):
            raise FileFormatError(f"{folder} has files, and no collection: name another folder")
    return False


def _create(folder: Path, description: Description, count: int, sync: bool) -> None:
    new = [folder, *(parent for parent in folder.parents if not parent.exists())]
    folder.mkdir(parents=True, exist_ok=True)
    with Locks(folder).writer():
        if _there(folder):
            return  # another process was faster
        versions = make_shards(folder, description, range(count))
        Manifest(description, 1, 0, {}, count, versions).write(folder, sync=sync)
        for path in new:  # its name is in the folder above
            synced(path.parent)
