"""Opening a collection on disk, or making one: what is there, and whether it is what was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil

from vjaccel.arrays import check
from vjaccel.arrays.protocol import Metric
from vjaccel.arrays.registry import get_backend
from vjaccel.collection.arrow import ORDER, lance
from vjaccel.collection.disk import Durability, LanceStore, written
from vjaccel.collection.durable import Durable, synced
from vjaccel.collection.locks import LOCKS, Locks
from vjaccel.collection.resident import Resident
from vjaccel.collection.store import Description
from vjaccel.collection.texts import check_model
from vjaccel.errors import FileFormatError, InvalidInput

__all__ = [
    "MANIFEST",
    "check_options",
    "check_same",
    "create_dataset",
    "described",
    "has_dataset",
    "is_there",
    "local_folder",
    "memory_bytes",
    "new_description",
    "open_store",
]

DESCRIPTION = "vjaccel"
"""The key of the schema's metadata under which a collection says what it is."""

FORMAT = 1

LANCES = {"_transactions", "_versions", "data"}
"""What Lance makes in a folder before there is a dataset."""

MANIFEST = "shards.json"
"""The file by which a folder is a sharded collection."""

_NEEDS_LANCE = "a collection on disk"


def is_there(uri: str) -> bool:
    """Whether there is a collection at `uri`.

    Raises
    ------
    FileFormatError
        There is something else.
    MissingExtra
    """
    folder = local_folder(uri)
    return _is_there(lance(_NEEDS_LANCE), uri if folder is None else str(folder), folder)


def open_store(
    uri: str,
    dim: int | None,
    metric: str | Metric | None,
    *,
    create: bool,
    backend: str | None,
    memory_limit: int | None,
    durability: Durability | None,
    model: dict[str, Any] | None,
) -> LanceStore:
    """The collection at `uri`; with `create`, a new one where there is none.

    Raises
    ------
    InvalidInput
        There is none, or it is of another width, metric or model; an option is none.
    FileFormatError
        What is there is no collection.
    MissingExtra, UnknownBackend, BackendUnavailable
    """
    check_options(backend, durability)
    limit = memory_bytes(memory_limit)
    module = lance(_NEEDS_LANCE)
    folder = local_folder(uri)
    if durability == "fsync" and folder is None:
        raise InvalidInput(f"durability='fsync' is for a local folder; {uri} has its own promise, so leave it out")
    at = uri if folder is None else str(folder)
    if not _is_there(module, at, folder):
        if not create:
            raise InvalidInput(
                f"there is no collection at {uri}; create=True makes one, and so does `vjaccel collection create`"
            )
        description = new_description(uri, dim, metric, model)
        with written(uri):
            create_dataset(module, at, folder, description)
    dataset = module.dataset(at)
    found = described(uri, dataset)
    check_same(uri, found, dim, metric, model)
    resident = Resident(found.dim, found.metric, backend, limit, one_writer=folder is not None)
    sync = folder is not None and durability != "process"
    return LanceStore(module, at, folder, dataset, found, backend, resident, sync=sync)


def check_options(backend: str | None, durability: str | None) -> None:
    """Refuse a backend or a durability that there is not.

    Raises
    ------
    InvalidInput, UnknownBackend, BackendUnavailable
    """
    if backend is not None:
        get_backend(backend)
    if durability not in (None, "fsync", "process"):
        raise InvalidInput(f"durability {durability!r} is neither 'fsync' nor 'process'")


def memory_bytes(memory_limit: int | None) -> int:
    """What vectors may take in memory.

    Raises
    ------
    InvalidInput
    """
    limit = psutil.virtual_memory().total // 4 if memory_limit is None else memory_limit
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise InvalidInput(f"memory_limit is a number of bytes, at least 0, not {limit!r}")
    return limit


def new_description(
    uri: str, dim: int | None, metric: str | Metric | None, model: dict[str, Any] | None
) -> Description:
    """What a collection that is to be made at `uri` is.

    Raises
    ------
    InvalidInput
    """
    if dim is None:
        raise InvalidInput(f"a new collection at {uri} needs dim, the width of its vectors")
    chosen = check.metric(Metric.COSINE if metric is None else metric, Metric, {})
    return Description(check.count(dim, "dim"), chosen, model)


def check_same(
    uri: str, found: Description, dim: int | None, metric: str | Metric | None, model: dict[str, Any] | None
) -> None:
    """Refuse a width, metric or model that is not that of the collection at `uri`.

    Raises
    ------
    InvalidInput
    """
    for name, given, kept in (("dim", dim, found.dim), ("metric", metric, found.metric)):
        if given is not None and given != kept:
            has = repr(kept.value) if isinstance(kept, Metric) else kept
            raise InvalidInput(f"{name}={given!r} contradicts the collection at {uri}, whose {name} is {has}")
    if model is not None:
        check_model(f"the collection at {uri}", found.model, model)


def has_dataset(folder: Path) -> bool:
    """Whether there is a Lance dataset in `folder`."""
    return any((folder / "_versions").glob("*.manifest"))


def local_folder(uri: str) -> Path | None:
    """The folder that `uri` names; None where it is a place of another kind."""
    if uri.startswith("file://"):
        uri = uri.removeprefix("file://")
    return None if "://" in uri else Path(uri).expanduser().absolute()


def _is_there(module: Any, at: str, folder: Path | None) -> bool:
    if folder is not None:
        if folder.is_file():
            raise FileFormatError(f"{folder} is a file; a collection is a folder")
        if (folder / MANIFEST).exists():
            raise FileFormatError(f"{folder} is a sharded collection: open it with vj.ShardedCollection.open")
        if has_dataset(folder):
            return True
        # Lance's own are from a creation that goes on elsewhere, or was killed.
        if folder.is_dir() and {path.name for path in folder.iterdir()} - LOCKS - LANCES:
            raise FileFormatError(f"{folder} has files, and no collection: name another folder")
        return False
    try:
        module.dataset(at)
    except ValueError as exc:
        if "not found" in str(exc):
            return False
        raise
    return True


def create_dataset(module: Any, at: str, folder: Path | None, made: Description, *, shard: bool = False) -> None:
    """An empty dataset, where there is none: a collection, or a shard of one."""
    import pyarrow as pa

    new: list[Path] = []
    if folder is not None:
        new = [folder, *(parent for parent in folder.parents if not parent.exists())]
        folder.mkdir(parents=True, exist_ok=True)
    fields = [
        pa.field("id", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"}),
        pa.field("vector", pa.list_(pa.float32(), made.dim), nullable=False),
    ]
    description = {"format": FORMAT, "dim": made.dim, "metric": made.metric.value, "model": made.model}
    if shard:
        fields.append(pa.field(ORDER, pa.int64(), nullable=False))
        description["shard"] = True
    empty = pa.schema(fields, metadata={DESCRIPTION: json.dumps(description)}).empty_table()
    with Locks(folder).writer():
        if _is_there(module, at, folder):
            return  # another process was faster
        dataset = module.write_dataset(empty, at, enable_stable_row_ids=True)
        if folder is not None:
            Durable(folder).everything(dataset, 0)
            for path in new:  # its name is in the folder above
                synced(path.parent)


def described(uri: str, dataset: Any, *, shard: bool = False) -> Description:
    """What the collection says it is whose dataset is at `uri`.

    Raises
    ------
    FileFormatError
        It says nothing, has another format, or is a shard of one, where that is not looked for.
    """
    found = (dataset.schema.metadata or {}).get(DESCRIPTION.encode())
    if found is None:
        raise FileFormatError(f"{uri} is a Lance dataset, and no collection of vjaccel's")
    description = json.loads(found)
    if description["format"] != FORMAT:
        raise FileFormatError(
            f"the collection at {uri} has format {description['format']}, and this vjaccel reads {FORMAT}: use a newer one"
        )
    if description.get("shard", False) != shard:
        raise FileFormatError(
            f"{uri} is a collection, and no shard of one"
            if shard
            else f"{uri} is a shard of a collection: open the folder above it with vj.ShardedCollection.open"
        )
    return Description(int(description["dim"]), Metric(description["metric"]), description["model"])
