"""Collections: what a user holds. The rows are judged in `judging`, kept in `memory` or on `disk`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from vjaccel.arrays import check
from vjaccel.arrays.ops import similarity
from vjaccel.arrays.protocol import Metric
from vjaccel.collection.filters import check_filter
from vjaccel.collection.judging import Existing, Judged, judged, on_host, sequence
from vjaccel.collection.memory import MemoryStore
from vjaccel.collection.metadata import copied
from vjaccel.collection.results import BatchResult, Hit, Rows, Scores, Version
from vjaccel.collection.store import Put, Store, Taken, View, Writer
from vjaccel.errors import CollectionErrors, InvalidInput, InvalidType

__all__ = ["Collection"]

OnError = Literal["collect", "raise"]
INCLUDED = ("metadata", "vectors")
BATCH = 4096


class Collection:
    """Vectors under ids, each with metadata, that are changed and searched. This one is in memory; `open` has one that lasts.

    Parameters
    ----------
    name : str
    dim : int
        The width of the vectors.
    metric : {"cosine", "dot", "euclidean", "sqeuclidean", "manhattan"}
        What it is searched by.
    backend : str, optional
        Where it is searched, as in `vjaccel.get_backend`.

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable

    Notes
    -----
    Any number of threads may use it. A search sees the collection before a change or after it, and never between.

    Examples
    --------
    >>> import vjaccel as vj
    >>> col = vj.Collection("notes", dim=2)
    >>> col.insert(["a", "b"], [[1.0, 0.0], [0.0, 1.0]], metadata=[{"year": 1999}, {"year": 2005}]).ok
    ('a', 'b')
    >>> [hit.id for hit in col.search([0.9, 0.1], k=1)]
    ['a']
    """

    def __init__(
        self, name: str, dim: int, *, metric: str | Metric = Metric.COSINE, backend: str | None = None
    ) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidInput(f"a collection's name is text that is not empty, not {name!r}")
        self._name = name
        self._store: Store = MemoryStore(check.count(dim, "dim"), check.metric(metric, Metric, {}), backend)

    # What it is

    @property
    def name(self) -> str:
        """Its name, or where it is."""
        return self._name

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return self._store.dim

    @property
    def metric(self) -> Metric:
        """What it is searched by."""
        return self._store.metric

    @property
    def version(self) -> int:
        """The number of its present state; each change makes another."""
        with self._store.reading() as view:
            return view.version

    def __len__(self) -> int:
        return self.count()

    def __repr__(self) -> str:
        return f"<Collection {self._name!r} of width {self.dim}, {self.metric.value}>"

    # Changing

    def insert(
        self,
        ids: Iterable[str],
        vectors: object,
        metadata: Iterable[Any] | None = None,
        *,
        on_error: OnError = "collect",
    ) -> BatchResult:
        """Add rows; an id that is there already is that row's error.

        Parameters
        ----------
        ids : iterable of str
        vectors : array_like, shape (n, dim), or a list of vectors
        metadata : iterable of dict, optional
            For each row a dict, or None. Values are str, int, float, bool, datetime, or lists of one of them; None is as if it
            were not there. A key has the kind of its first value in the collection.
        on_error : {"collect", "raise"}
            Whether the good rows are taken where others are bad, or nothing is.

        Returns
        -------
        BatchResult
            An `ItemError` for each bad row: ``NIL_VECTOR``, ``EMPTY_EMBEDDING``, ``INVALID_VECTOR_ID``, ``INVALID_EMBEDDING``,
            ``DIMENSION_MISMATCH``, ``DUPLICATE_ID``, ``ALREADY_EXISTS``, ``INVALID_METADATA``, the first of these that holds.

        Raises
        ------
        CollectionErrors
            A row is bad, and `on_error` is "raise".
        InvalidInput, InvalidType
            What was given is no list of rows, or the lists are not equally long.
        """
        return self._put(ids, vectors, metadata, "refused", on_error)

    def upsert(
        self,
        ids: Iterable[str],
        vectors: object,
        metadata: Iterable[Any] | None = None,
        *,
        on_error: OnError = "collect",
    ) -> BatchResult:
        """As `insert`, but a row that is there is replaced, whole, and keeps its place in the order of rows."""
        return self._put(ids, vectors, metadata, "either", on_error)

    def update(
        self,
        ids: Iterable[str],
        vectors: object = None,
        metadata: Iterable[Any] | None = None,
        *,
        on_error: OnError = "collect",
    ) -> BatchResult:
        """Change rows that are there: their vectors, some of their metadata, or both.

        As `insert`, but an id that is not there is ``NOT_FOUND``; keys that a row's metadata does not name stay as they are,
        and a value of None takes its key away.
        """
        if vectors is None and metadata is None:
            raise InvalidInput("update needs vectors, metadata or both")
        _check_on_error(on_error)
        with self._store.writing() as writer:
            rows, columns = self._judged(writer, ids, vectors, metadata, "needed")
            self._settle(rows, writer, on_error)
            if not rows.ids:
                return _result(rows, writer.version)
            before = writer.get(rows.ids)
            assert before.vectors is not None
            assert before.metadata is not None
            values = before.metadata
            if rows.metadata is not None:
                values = [_present({**old, **new}) for old, new in zip(values, rows.metadata, strict=True)]
            put = Put(
                rows.ids, before.vectors if rows.vectors is None else rows.vectors, values, columns, set(rows.ids)
            )
            return _result(rows, writer.put(put))

    def delete(
        self, ids: Iterable[str] | None = None, *, where: str | None = None, on_error: OnError = "collect"
    ) -> BatchResult:
        """Remove the rows of `ids` (``NOT_FOUND`` for those that are not there), or those for which `where` holds.

        Raises
        ------
        CollectionErrors, InvalidInput, InvalidType
        """
        if (ids is None) == (where is None):
            raise InvalidInput("delete needs ids or where, and not both")
        _check_on_error(on_error)
        check_filter(where)
        with self._store.writing() as writer:
            if ids is None:
                gone = writer.matching(where)
                return BatchResult(tuple(gone), (), writer.remove(gone) if gone else writer.version)
            rows, _ = self._judged(writer, ids, None, None, "needed")
            self._settle(rows, writer, on_error)
            return _result(rows, writer.remove(rows.ids) if rows.ids else writer.version)

    # Reading

    def get(self, ids: Iterable[str]) -> Rows:
        """The rows of `ids` that are there, in that order.

        Raises
        ------
        InvalidType
        """
        wanted = [name for name in sequence("ids", ids) if isinstance(name, str)]
        with self._store.reading() as view:
            found = view.get(wanted)
        return _rows(found)

    def count(self, where: str | None = None) -> int:
        """How many rows there are, or for how many `where` holds.

        Raises
        ------
        InvalidInput, InvalidType, MissingExtra
        """
        check_filter(where)
        with self._store.reading() as view:
            return view.count(where)

    def search(
        self, query: object, k: int = 10, *, where: str | None = None, include: Sequence[str] = ("metadata",)
    ) -> Any:
        """The `k` closest rows, exactly: those of a float64 brute force, equal ones in the order in which they came.

        Parameters
        ----------
        query : array_like, shape (dim,) or (n_queries, dim)
        k : int
            At least 1; there are fewer hits where there are fewer rows.
        where : str, optional
            SQL over ``id`` and the metadata, as in ``"lexname = 'noun.food' AND year > 2001"``: see docs/collections.md.
        include : sequence of {"metadata", "vectors"}
            What hits have beside id and score.

        Returns
        -------
        list of Hit, or a list of them for each of several queries
            Best first.

        Raises
        ------
        InvalidInput, InvalidType, MissingExtra
        """
        k = check.count(k)
        check_filter(where)
        wanted = _included(include)
        queries, single = self._queries(query)
        with self._store.reading() as view:
            found = view.nearest(queries, k, where)
            handles = np.asarray(found.handles)
            there = handles >= 0
            unique, places = np.unique(handles[there], return_inverse=True)
            rows = view.taken(unique, vectors="vectors" in wanted, metadata="metadata" in wanted)
        hits = _hits(rows, places, np.asarray(found.scores)[there].tolist())
        ends = np.cumsum(there.sum(axis=1)).tolist()
        lists = [hits[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return lists[0] if single else lists

    def similarity(self, query: object) -> Scores:
        """How similar each row is to a query, or to each of several: by the cosine, or by dot where that is the metric.

        Raises
        ------
        InvalidInput, InvalidType
        """
        if not self.metric.is_similarity:
            raise InvalidInput(
                f"the collection's metric is {self.metric.value}, a distance; search ranks its rows by it"
            )
        queries, single = self._queries(query)
        with self._store.reading() as view:
            ids, vectors = view.everything()
        values = similarity(queries, vectors, metric=self.metric)
        return Scores(tuple(ids), values[0] if single else values)

    def iter_batches(self, batch_size: int = BATCH, *, where: str | None = None) -> Iterator[Rows]:
        """All rows, or those for which `where` holds, some at a time: as they are now, whatever changes meanwhile.

        In memory they come in the order in which they were put in, and are copied at once; on disk in the order of the
        files, where rows that were changed come later.

        Raises
        ------
        InvalidInput, InvalidType, MissingExtra
        """
        size = check.count(batch_size, "batch_size")
        check_filter(where)

        def going_through() -> Iterator[Rows]:
            with self._store.reading() as view:
                batches = view.batches(size, where)
                first = next(batches, None)
            if first is not None:
                yield first
                yield from batches

        return going_through()

    # Versions and upkeep

    def versions(self) -> list[Version]:
        """The states that there still are, oldest first."""
        return self._store.versions()

    def checkout(self, version: int) -> Collection:
        """The collection as it was at a version, to be read only.

        Raises
        ------
        InvalidInput
            There is no such version, or no longer.
        """
        return self._of(self._name, self._store.at(check.count(version, "version")))

    def compact(self) -> None:
        """Put small files together, bring the indices up to date, and remove what no version that is kept needs.

        It happens by itself too, after changes, past a number of files. In memory there is nothing to do.
        """
        self._store.compact()

    def close(self) -> None:
        """Let go of what is held. Closing twice is fine."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Below

    @classmethod
    def _of(cls, name: str, store: Store) -> Collection:
        made = cls.__new__(cls)
        made._name, made._store = name, store
        return made

    def _put(
        self, ids: object, vectors: object, metadata: object, existing: Existing, on_error: OnError
    ) -> BatchResult:
        _check_on_error(on_error)
        if vectors is None:
            raise InvalidInput("there are no vectors; they are a list, or an array (n, dim)")
        with self._store.writing() as writer:
            rows, columns = self._judged(writer, ids, vectors, metadata, existing)
            self._settle(rows, writer, on_error)
            if not rows.ids:
                return _result(rows, writer.version)
            assert rows.vectors is not None
            values = None if rows.metadata is None else [_present(row) for row in rows.metadata]
            there = writer.present(rows.ids) if existing == "either" else set()
            return _result(rows, writer.put(Put(rows.ids, rows.vectors, values, columns, there)))

    def _judged(
        self, writer: Writer, ids: object, vectors: object, metadata: object, existing: Existing
    ) -> tuple[Judged, Any]:
        columns = dict(writer.columns)
        rows = judged(ids, vectors, metadata, dim=self.dim, columns=columns, present=writer.present, existing=existing)
        return rows, columns

    def _settle(self, rows: Judged, view: View, on_error: OnError) -> None:
        if rows.errors and on_error == "raise":
            refused = BatchResult((), _errors(rows), view.version)
            raise CollectionErrors(refused, len(rows.errors) + len(rows.ids))

    def _queries(self, query: object) -> tuple[np.ndarray, bool]:
        found = check.shaped("query", on_host(query), single=True)
        array = np.asarray(found)
        if array.shape[-1] != self.dim:
            raise InvalidInput(
                f"the query has width {array.shape[-1]} and the collection {self.dim}; they must be the same"
            )
        return (array[None, :], True) if array.ndim == 1 else (array, False)


def _check_on_error(on_error: object) -> None:
    if on_error not in ("collect", "raise"):
        raise InvalidInput(f"on_error {on_error!r} is neither 'collect' nor 'raise'")


def _included(include: object) -> set[str]:
    if isinstance(include, str) or not isinstance(include, Iterable):
        raise InvalidType(f"include is a list of {', '.join(map(repr, INCLUDED))}, not {include!r}")
    wanted = set(include)
    unknown = sorted(map(repr, wanted - set(INCLUDED)))
    if unknown:
        raise InvalidInput(f"include has {unknown[0]}; there are {', '.join(map(repr, INCLUDED))}")
    return wanted


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _errors(rows: Judged) -> tuple[Any, ...]:
    return tuple(rows.errors[place] for place in sorted(rows.errors))


def _result(rows: Judged, version: int) -> BatchResult:
    return BatchResult(tuple(rows.ids), _errors(rows), version)


def _rows(found: Taken) -> Rows:
    assert found.vectors is not None
    assert found.metadata is not None
    return Rows(tuple(found.ids), found.vectors, tuple(found.metadata))


def _hits(rows: Taken, places: np.ndarray, scores: list[float]) -> list[Hit]:
    """A hit for each of `places` among `rows`."""
    return [
        Hit(
            rows.ids[place],
            score,
            None if rows.metadata is None else copied(rows.metadata[place]),
            None if rows.vectors is None else rows.vectors[place],
        )
        for place, score in zip(places.tolist(), scores, strict=True)
    ]
