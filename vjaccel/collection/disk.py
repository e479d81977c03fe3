"""A collection's rows on disk, or in an object store: one Lance dataset, of which each change makes a version.

A column is the id, one the vector, and one each key of the metadata. Lance's stable row ids are the rows' numbers: they grow
with each new row, and a row keeps its own when it is changed or moved to another file.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from vjaccel.arrays.protocol import Metric
from vjaccel.collection.arrow import array_of, field_of, vector_array
from vjaccel.collection.durable import Durable
from vjaccel.collection.lance_view import INDEX, LanceView
from vjaccel.collection.locks import Locks
from vjaccel.collection.metadata import Columns
from vjaccel.collection.resident import Resident
from vjaccel.collection.results import Version
from vjaccel.collection.store import Description, IndexKind, Put
from vjaccel.collection.upkeep import kept_up
from vjaccel.errors import CollectionConflict, InvalidInput, NotSupported, OutputError, VjaccelError

__all__ = ["LEAST_INDEXED", "Durability", "LanceStore", "LanceWriter", "written"]

BEGINNING = "beginning"
"""The tag of the version to which what was not finished was last undone."""

Durability = Literal["fsync", "process"]
Result = TypeVar("Result")

logger = logging.getLogger("vjaccel.collection")

LEAST_INDEXED = 256
"""Rows that an index is made from at least: it finds as many points among them."""


@contextmanager
def written(uri: str) -> Iterator[None]:
    """What the system refuses inside it is the error of writing a collection.

    Raises
    ------
    OutputError
    """
    try:
        yield
    except VjaccelError:
        raise
    except OSError as exc:
        reason = exc.strerror or re.sub(r", \S+\.rs:\d+:\d+", "", str(exc).partition("\n")[0])
        raise OutputError(f"cannot write the collection at {uri}: {reason}") from exc


class LanceStore:
    """The dataset; `writing` goes on alone, and `reading` beside it, each with a version of its own."""

    place: ClassVar[Literal["memory", "disk"]] = "disk"

    def __init__(
        self,
        module: Any,
        uri: str,
        folder: Path | None,
        dataset: Any,
        description: Description,
        backend: str | None,
        resident: Resident,
        *,
        sync: bool,
        fixed: ExitStack | None = None,
    ) -> None:
        self.description = description
        self._lance = module
        self._uri = uri
        self._folder = folder
        self._dataset = dataset
        self._backend = backend
        self._resident = resident
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
        with written(self._uri), self._locks.writer():
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
        dim, metric, _ = self.description
        resident = Resident(dim, metric, self._backend, self._resident.limit, one_writer=False)
        return LanceStore(
            self._lance, self._uri, self._folder, dataset, self.description, self._backend, resident,
            sync=False, fixed=keeping,
        )  # fmt: skip

    def compact(self) -> None:
        self._check_writable()
        with written(self._uri), self._locks.writer():
            kept_up(self._lance.dataset(self._uri), self._locks, self._durable, since=None)

    def create_index(self, kind: IndexKind, partitions: int | None) -> None:
        self._check_writable()
        metrics = {Metric.COSINE: "cosine", Metric.DOT: "dot", Metric.EUCLIDEAN: "l2", Metric.SQEUCLIDEAN: "l2"}
        metric = self.description.metric
        if metric not in metrics:
            raise NotSupported(f"there is no index for {metric.value} distances; a search without one is exact")
        with written(self._uri), self._locks.writer():
            dataset = self._lance.dataset(self._uri)
            before, rows = dataset.version, dataset.count_rows()
            if rows < LEAST_INDEXED:
                raise InvalidInput(f"an index needs {LEAST_INDEXED} rows, and pays from many more; there are {rows}")
            parts = max(1, round(rows**0.5 / 2)) if partitions is None else min(partitions, rows)
            # Codes of at least four numbers each, as many as divide the width.
            codes = next(n for n in range(max(1, self.description.dim // 4), 0, -1) if self.description.dim % n == 0)
            dataset.create_index(
                "vector", kind.upper(), name=INDEX, metric=metrics[metric], num_partitions=parts, replace=True,
                num_sub_vectors=codes if kind == "ivf_pq" else None,
            )  # fmt: skip
            if self._durable is not None:
                self._durable.everything(dataset, before)

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
        dim, metric, _ = self.description
        return LanceView(dataset, dim, metric, self._backend, self._resident, self._locks)

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

    def widen(self, columns: Columns) -> None:
        """Add those of `columns` that are not there."""
        import pyarrow as pa

        new = {key: column for key, column in columns.items() if key not in self.columns}
        if new:
            before = self.dataset.version
            fields = pa.schema([field_of(key, column) for key, column in new.items()])
            self._raced(lambda: self.dataset.add_columns(fields))
            if self._durable is not None:
                self._durable.everything(self.dataset, before)

    def put(self, rows: Put) -> int:
        import pyarrow as pa

        self.widen(rows.columns)
        schema = self.dataset.schema
        arrays = [pa.array(rows.ids, pa.string()), vector_array(rows.vectors)]
        arrays += [] if rows.order is None else [pa.array(rows.order, pa.int64())]
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

    def back_to(self, version: int) -> None:
        """Undo what came after `version`."""
        if self.dataset.version == version:
            return
        newest = self.dataset.version
        # However often that is: what is cleaned up is not what somebody goes back to.
        tags = self.dataset.tags
        (tags.update if BEGINNING in tags.list() else tags.create)(BEGINNING, version)
        self.dataset = self.dataset.checkout_version(version)
        self.dataset.restore()
        self._dataset = self.dataset
        if self._durable is not None:
            self._durable.everything(self.dataset, newest)

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
