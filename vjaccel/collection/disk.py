"""A collection's rows on disk, or in an object store: one Lance dataset, of which each change makes a version.

A column is the id, one the vector, and one each key of the metadata. Lance's stable row ids are the rows' numbers: they grow
with each new row, and a row keeps its own when it is changed or moved to another file.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, Literal, TypeVar

from vjaccel.arrays import check
from vjaccel.arrays.protocol import Metric
from vjaccel.collection.arrow import array_of, field_of, lance, vector_array
from vjaccel.collection.durable import Durable
from vjaccel.collection.lance_view import LanceView
from vjaccel.collection.locks import LOCKS, Locks
from vjaccel.collection.resident import Resident
from vjaccel.collection.results import Version
from vjaccel.collection.store import Put
from vjaccel.collection.upkeep import kept_up
from vjaccel.errors import CollectionConflict, FileFormatError, InvalidInput

__all__ = ["Durability", "LanceStore", "open_store"]

Durability = Literal["fsync", "process"]
Result = TypeVar("Result")

logger = logging.getLogger("vjaccel.collection")

DESCRIPTION = "vjaccel"
"""The key of the schema's metadata under which a collection says what it is."""

FORMAT = 1


def open_store(
    uri: str,
    dim: int | None,
    metric: str | Metric | None,
    *,
    create: bool,
    backend: str | None,
    memory_limit: int,
    durability: Durability | None,
) -> LanceStore:
    """The collection at `uri`; with `create`, a new one where there is none.

    Raises
    ------
    InvalidInput
        There is none, or it is of another width or metric.
    FileFormatError
        What is there is no collection.
    MissingExtra
    """
    module = lance("a collection on disk")
    folder = _local(uri)
    if durability not in (None, "fsync", "process"):
        raise InvalidInput(f"durability {durability!r} is neither 'fsync' nor 'process'")
    if durability == "fsync" and folder is None:
        raise InvalidInput(f"durability='fsync' is for a local folder; {uri} has its own promise, so leave it out")
    at = uri if folder is None else str(folder)
    if not _is_there(module, at, folder):
        if not create:
            raise InvalidInput(f"there is no collection at {uri}; create=True makes one")
        if dim is None:
            raise InvalidInput(f"a new collection at {uri} needs dim, the width of its vectors")
        chosen = check.metric(Metric.COSINE if metric is None else metric, Metric, {})
        _create(module, at, folder, check.count(dim, "dim"), chosen)
    dataset = module.dataset(at)
    kept_dim, kept_metric = _described(uri, dataset)
    for name, given, kept in (("dim", dim, kept_dim), ("metric", metric, kept_metric)):
        if given is not None and given != kept:
            raise InvalidInput(f"{name}={given!r} contradicts the collection at {uri}, whose {name} is {str(kept)!r}")
    resident = Resident(kept_dim, kept_metric, backend, memory_limit, one_writer=folder is not None)
    sync = folder is not None and durability != "process"
    return LanceStore(module, at, folder, dataset, kept_dim, kept_metric, backend, resident, sync=sync)


class LanceStore:
    """The dataset; `writing` goes on alone, and `reading` beside it, each with a version of its own."""

    def __init__(
        self,
        module: Any,
        uri: str,
        folder: Path | None,
        dataset: Any,
        dim: int,
        metric: Metric,
        backend: str | None,
        resident: Resident,
        *,
        sync: bool,
        fixed: ExitStack | None = None,
    ) -> None:
        self.dim = dim
        self.metric = metric
        self._lance = module
        self._uri = uri
        self._folder = folder
        self._dataset = dataset
        self._backend = backend
        self._resident = resident
        self._sync = sync
        self._fixed = fixed
        self._durable = Durable(folder) if folder is not None and sync else None
        self._locks = Locks(folder)
        self._latest = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[LanceView]:
        with self._locks.reader():
            yield self._view(self._newest())

    @contextmanager
    def writing(self) -> Iterator[LanceWriter]:
        self._check_writable()
        with self._locks.writer():
            # A handle of its own: what changes it is no reader's business before it is done.
            dataset = self._lance.dataset(self._uri, session=self._dataset.session())
            writer = LanceWriter(self._view(dataset), dataset, self._durable, self._folder is not None)
            since = writer.version
            yield writer
            if writer.has_written:
                try:
                    kept_up(writer.dataset, self._locks, self._durable, since=since)
                except Exception:  # the change is done, and must not look as if it were not; the next one tries again
                    logger.warning("the collection at %s could not be put in order", self._uri, exc_info=True)

    def versions(self) -> list[Version]:
        return [Version(int(v["version"]), v["timestamp"].astimezone(UTC)) for v in self._newest().versions()]

    def at(self, version: int) -> LanceStore:
        keeping = ExitStack()
        keeping.enter_context(self._locks.reader())  # until it is closed: so that nobody removes its files
        try:
            dataset = self._lance.dataset(self._uri, version=version, session=self._dataset.session())
        except (ValueError, OSError) as exc:
            keeping.close()
            there = [v.number for v in self.versions()]
            raise InvalidInput(
                f"there is no version {version}, or no longer; there are {there[0]} to {there[-1]}, but for those cleaned up"
            ) from exc
        resident = Resident(self.dim, self.metric, self._backend, self._resident.limit, one_writer=False)
        return LanceStore(
            self._lance, self._uri, self._folder, dataset, self.dim, self.metric, self._backend, resident,
            sync=False, fixed=keeping,
        )  # fmt: skip

    def compact(self) -> None:
        self._check_writable()
        with self._locks.writer():
            kept_up(self._lance.dataset(self._uri), self._locks, self._durable, since=None)

    def close(self) -> None:
        self._resident.close()
        if self._fixed is not None:
            self._fixed.close()

    def _newest(self) -> Any:
        with self._latest:
            if self._fixed is None:
                newest = self._dataset.latest_version
                if newest != self._dataset.version:
                    self._dataset = self._dataset.checkout_version(newest)
            return self._dataset

    def _view(self, dataset: Any) -> LanceView:
        return LanceView(dataset, self.dim, self.metric, self._backend, self._resident, self._locks)

    def _check_writable(self) -> None:
        if self._fixed is not None:
            raise InvalidInput("a version that was checked out can be read only; change the collection itself")


class LanceWriter(LanceView):
    """The newest version, and the next; see `Writer`."""

    has_written = False

    def __init__(self, view: LanceView, dataset: Any, durable: Durable | None, one_writer: bool) -> None:
        self.__dict__.update(view.__dict__)
        self.dataset = dataset
        self._durable = durable
        self._one_writer = one_writer

    def put(self, rows: Put) -> int:
        import pyarrow as pa

        new = {key: column for key, column in rows.columns.items() if key not in self.columns}
        if new:
            before = self.dataset.version
            self.dataset.add_columns(pa.schema([field_of(key, column) for key, column in new.items()]))
            if self._durable is not None:
                self._durable.everything(self.dataset, before)
        schema = self.dataset.schema
        arrays = [pa.array(rows.ids, pa.string()), vector_array(rows.vectors)]
        arrays += [array_of(key, column, rows.metadata, len(rows.ids)) for key, column in self.columns.items()]
        table = pa.Table.from_arrays(arrays, schema=schema)
        merge = self._merge().when_matched_update_all().when_not_matched_insert_all()
        if not self._one_writer:
            return self._raced(lambda: merge.execute(table))
        if rows.existing:
            return self._committed(merge.execute_uncommitted(table)[0])
        from lance.fragment import write_fragments

        return self._committed(write_fragments(table, self.dataset, mode="append", return_transaction=True))

    def remove(self, ids: list[str]) -> int:
        import pyarrow as pa

        table = pa.Table.from_arrays([pa.array(ids, pa.string())], schema=pa.schema([self.dataset.schema.field("id")]))
        merge = self._merge().when_matched_delete()
        if not self._one_writer:
            return self._raced(lambda: merge.execute(table))
        return self._committed(merge.execute_uncommitted(table)[0])

    def _merge(self) -> Any:
        return self.dataset.merge_insert("id").conflict_retries(0)

    def _committed(self, transaction: Any) -> int:
        if self._durable is not None:
            self._durable.before(transaction)
        self.dataset = type(self.dataset).commit(self.dataset, transaction, max_retries=0)
        if self._durable is not None:
            self._durable.committed(self.dataset, transaction)
        self.has_written = True
        return int(self.dataset.version)

    def _raced(self, commit: Callable[[], object]) -> int:
        """What other writers may be faster at: Lance knows by the ids, whose column is its key, and refuses the second."""
        try:
            commit()
        except OSError as exc:
            if "concurrent" not in str(exc) and "conflict" not in str(exc):
                raise
            raise CollectionConflict("other writers change the collection all the time; try again later") from exc
        self.has_written = True
        return int(self.dataset.version)


def _local(uri: str) -> Path | None:
    """The folder that `uri` names; None where it is a place of another kind."""
    if uri.startswith("file://"):
        uri = uri.removeprefix("file://")
    return None if "://" in uri else Path(uri).expanduser().absolute()


def _is_there(module: Any, at: str, folder: Path | None) -> bool:
    if folder is not None:
        if folder.is_file():
            raise FileFormatError(f"{folder} is a file; a collection is a folder")
        if (folder / "_versions").is_dir():
            return True
        if folder.is_dir() and {path.name for path in folder.iterdir()} - LOCKS:
            raise FileFormatError(f"{folder} has files, and no collection: name another folder")
        return False
    try:
        module.dataset(at)
    except ValueError as exc:
        if "not found" in str(exc):
            return False
        raise
    return True


def _create(module: Any, at: str, folder: Path | None, dim: int, metric: Metric) -> None:
    import pyarrow as pa

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    fields = [
        pa.field("id", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"}),
        pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
    ]
    description = json.dumps({"format": FORMAT, "dim": dim, "metric": metric.value})
    empty = pa.schema(fields, metadata={DESCRIPTION: description}).empty_table()
    with Locks(folder).writer():
        if _is_there(module, at, folder):
            return  # another process was faster
        dataset = module.write_dataset(empty, at, enable_stable_row_ids=True)
        if folder is not None:
            Durable(folder).everything(dataset, 0)


def _described(uri: str, dataset: Any) -> tuple[int, Metric]:
    found = (dataset.schema.metadata or {}).get(DESCRIPTION.encode())
    if found is None:
        raise FileFormatError(f"{uri} is a Lance dataset, and no collection of vjaccel's")
    description = json.loads(found)
    if description["format"] != FORMAT:
        raise FileFormatError(
            f"the collection at {uri} has format {description['format']}, and this vjaccel reads {FORMAT}: use a newer one"
        )
    return int(description["dim"]), Metric(description["metric"])
