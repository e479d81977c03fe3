"""Collections: what a user holds. The rows are judged in `judging`, kept in `memory` or on `disk`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from vjaccel.arrays import check
from vjaccel.arrays.ops import similarity
from vjaccel.arrays.protocol import Metric
from vjaccel.closing import Closing
from vjaccel.collection.changes import OnError, delete, put, update
from vjaccel.collection.filters import check_filter
from vjaccel.collection.judging import on_host, sequence
from vjaccel.collection.memory import MemoryStore
from vjaccel.collection.metadata import Column
from vjaccel.collection.results import BatchResult, Evaluation, Rows, Scores, Version
from vjaccel.collection.searching import evaluated, included, rows_of, searched
from vjaccel.collection.store import Description, IndexKind, Store
from vjaccel.collection.texts import Texts, model_of
from vjaccel.embedding import Embedder, ModelIdentity
from vjaccel.errors import InvalidInput
from vjaccel.telemetry import operation

if TYPE_CHECKING:
    from vjaccel.collection.disk import Durability

__all__ = ["Collection"]

BATCH = 4096


class Collection(Closing):
    """Vectors under ids, each with metadata, that are changed and searched. This one is in memory; `open` has one that lasts.

    Parameters
    ----------
    name : str
    dim : int, optional
        The width of the vectors; an embedder knows it.
    metric : {"cosine", "dot", "euclidean", "sqeuclidean", "manhattan"}
        What it is searched by.
    backend : str, optional
        Where it is searched, as in `vjaccel.get_backend`.
    embedder : str or Embedder, optional
        The model of texts, as ``"local:all-MiniLM-L6-v2"``.

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable, and those of `Embedder`

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
        self,
        name: str,
        dim: int | None = None,
        *,
        metric: str | Metric = Metric.COSINE,
        backend: str | None = None,
        embedder: str | Embedder | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidInput(f"a collection's name is text that is not empty, not {name!r}")
        self._name = name
        self._texts = None if embedder is None else Texts(embedder)
        width = dim if self._texts is None else self._texts.dim(dim)
        if width is None:
            raise InvalidInput("a new collection needs dim, the width of its vectors")
        model = None if self._texts is None else self._texts.model
        described = Description(check.count(width, "dim"), check.metric(metric, Metric, {}), model)
        self._kept: Store = MemoryStore(described, backend)
        self._is_closed = False

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike[str],
        dim: int | None = None,
        metric: str | Metric | None = None,
        *,
        create: bool = False,
        backend: str | None = None,
        memory_limit: int | None = None,
        durability: Durability | None = None,
        embedder: str | Embedder | None = None,
        model: ModelIdentity | None = None,
    ) -> Collection:
        """A collection that lasts: in a folder, or in an object store, as a Lance dataset. Needs the extra ``store``.

        Parameters
        ----------
        uri : str or Path
            A folder, or an address that Lance knows, as ``s3://bucket/notes``.
        dim, metric
            Of a new one, whose metric is "cosine" by default. One that is there knows its own.
        create : bool
            Make a new one where there is none.
        backend : str, optional
            Where it is searched, as in `vjaccel.get_backend`.
        memory_limit : int, optional
            Bytes that vectors may take in memory; by default a quarter of the machine's. A search of more reads them from disk.
        durability : {"fsync", "process"}, optional
            Whether what a call has changed survives a power cut, or the end of the process alone. "fsync" is usual in a local
            folder; an object store has its own promise.
        embedder : str or Embedder, optional
            The model of texts, as ``"local:all-MiniLM-L6-v2"``. A new collection keeps which it is, and refuses others.
        model : ModelIdentity, optional
            Without an embedder: the model whose vectors it has, or is to have.

        Raises
        ------
        InvalidInput, InvalidType, FileFormatError, MissingExtra, UnknownBackend, BackendUnavailable, and those of `Embedder`
        """
        from vjaccel.collection.opening import open_store

        name, texts = os.fspath(uri), None if embedder is None else Texts(embedder)
        described = None if model is None else model_of(model)
        store = open_store(
            name, dim if texts is None else texts.dim(dim), metric, create=create, backend=backend, memory_limit=memory_limit,
            durability=durability, model=described if texts is None else texts.model,
        )  # fmt: skip
        return cls._of(name, store, texts)

    @staticmethod
    def exists(uri: str | os.PathLike[str]) -> bool:
        """Whether there is a collection at `uri`.

        Raises
        ------
        FileFormatError
            There is something else.
        MissingExtra
        """
        from vjaccel.collection.opening import is_there

        return is_there(os.fspath(uri))

    # What it is

    @property
    def name(self) -> str:
        """Its name, or where it is."""
        return self._name

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return self._kept.description.dim

    @property
    def metric(self) -> Metric:
        """What it is searched by."""
        return self._kept.description.metric

    @property
    def model(self) -> dict[str, Any] | None:
        """The identity of the model whose vectors it has; None where nobody said."""
        return self._kept.description.model

    @property
    def version(self) -> int:
        """The number of its present state; each change makes another."""
        with self._store.reading() as view:
            return view.version

    @property
    def columns(self) -> dict[str, Column]:
        """The keys of the metadata, and of what kind their values are."""
        with self._store.reading() as view:
            return dict(view.columns)

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
        with self._told("collection.insert"):
            return put(self._store, ids, vectors, metadata, "refused", on_error)

    def upsert(
        self,
        ids: Iterable[str],
        vectors: object,
        metadata: Iterable[Any] | None = None,
        *,
        on_error: OnError = "collect",
    ) -> BatchResult:
        """As `insert`, but a row that is there is replaced, whole, and keeps its place in the order of rows."""
        with self._told("collection.upsert"):
            return put(self._store, ids, vectors, metadata, "either", on_error)

    def add_texts(
        self,
        ids: Iterable[str],
        texts: Iterable[str],
        metadata: Iterable[Any] | None = None,
        *,
        on_error: OnError = "collect",
    ) -> BatchResult:
        """Embed texts, with the model's prompt for documents, and insert them; each is kept as ``text`` in its metadata too.

        As `insert`, and what cannot be embedded is its row's error with the codes of `Embedder`: ``INVALID_TEXT``,
        ``EMBEDDING_GENERATION_FAILED``. A row whose id or metadata cannot be taken is not embedded.

        Raises
        ------
        CollectionErrors, InvalidInput, InvalidType
        """
        with self._told("collection.add_texts"):
            return self._embedding().add(self._store, ids, texts, metadata, on_error)

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
        with self._told("collection.update"):
            return update(self._store, ids, vectors, metadata, on_error)

    def delete(
        self, ids: Iterable[str] | None = None, *, where: str | None = None, on_error: OnError = "collect"
    ) -> BatchResult:
        """Remove the rows of `ids` (``NOT_FOUND`` for those that are not there), or those for which `where` holds.

        Raises
        ------
        CollectionErrors, InvalidInput, InvalidType
        """
        with self._told("collection.delete"):
            return delete(self._store, ids, where, on_error)

    # Reading

    def get(self, ids: Iterable[str]) -> Rows:
        """The rows of `ids` that are there, in that order.

        Raises
        ------
        InvalidType
        """
        wanted = [name for name in sequence("ids", ids) if isinstance(name, str)]
        with self._told("collection.get"), self._store.reading() as view:
            return rows_of(view.get(wanted))

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
        self,
        query: object,
        k: int = 10,
        *,
        where: str | None = None,
        include: Sequence[str] = ("metadata",),
        probes: int | None = None,
    ) -> Any:
        """The `k` closest rows, exactly: those of a float64 brute force, equal ones in the order in which they came.

        Parameters
        ----------
        query : array_like, shape (dim,) or (n_queries, dim), or str or list of str
            Of finite numbers. Texts are embedded with the model's prompt for queries.
        k : int
            At least 1; there are fewer hits where there are fewer rows.
        where : str, optional
            SQL over ``id`` and the metadata, as in ``"lexname = 'noun.food' AND year > 2001"``: see docs/collections.md.
        include : sequence of {"metadata", "vectors"}
            What hits have beside id and score.
        probes : int, optional
            Search by the index that `create_index` made, in so many of its parts: not exactly, and faster where there are
            millions of rows. `evaluate` says how much is found.

        Returns
        -------
        list of Hit, or a list of them for each of several queries
            Best first.

        Raises
        ------
        InvalidInput, InvalidType, MissingExtra
        """
        k, probes = check.count(k), None if probes is None else check.count(probes, "probes")
        check_filter(where)
        wanted = included(include)
        with self._told("collection.search"):
            queries, single = self._queries(query)
            with self._store.reading() as view:
                lists = searched(view, queries, k, where, probes, wanted)
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
        with self._told("collection.similarity"):
            queries, single = self._queries(query)
            with self._store.reading() as view:
                ids, blocks = view.everything()
                values = np.empty((len(queries), len(ids)), np.float32)
                for places, vectors in blocks:
                    values[:, places] = similarity(queries, vectors, metric=self.metric)
            return Scores(tuple(ids), values[0] if single else values)

    def iter_batches(self, batch_size: int = BATCH, *, where: str | None = None) -> Iterator[Rows]:
        """All rows, or those for which `where` holds, some at a time: as they are now, whatever changes meanwhile.

        In memory they come in the order in which they were put in; on disk in the order of the files, where rows that were
        changed come later.

        Raises
        ------
        InvalidInput, InvalidType, MissingExtra
        """
        size = check.count(batch_size, "batch_size")
        check_filter(where)
        with self._store.reading() as view:
            return view.batches(size, where)

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
        return self._of(self._name, self._store.at(check.count(version, "version")), None)

    def compact(self) -> None:
        """Put small files together, bring the indices up to date, and remove what no version that is kept needs.

        It happens by itself too, after changes, past a number of files. In memory there is nothing to do.
        """
        with self._told("collection.compact"):
            self._store.compact()

    def create_index(self, kind: IndexKind = "ivf_hnsw_sq", *, partitions: int | None = None) -> None:
        """Make Lance's index of the vectors, which a search with `probes` goes by; rows that come later are added to it.

        Parameters
        ----------
        kind : {"ivf_hnsw_sq", "ivf_pq"}
            Graphs of vectors in 8 bits, or products of codes, which are smaller and find less.
        partitions : int, optional
            Into how many parts the vectors are put.

        Raises
        ------
        InvalidInput
            The collection has fewer than 256 rows.
        NotSupported
            It is in memory, or its metric is manhattan.
        """
        if kind not in ("ivf_hnsw_sq", "ivf_pq"):
            raise InvalidInput(f"kind {kind!r} is neither 'ivf_hnsw_sq' nor 'ivf_pq'")
        parts = None if partitions is None else check.count(partitions, "partitions")
        with self._told("collection.create_index"):
            self._store.create_index(kind, parts)

    def evaluate(self, queries: object, k: int = 10, *, probes: int = 20) -> Evaluation:
        """What share of the `k` closest rows a search with `probes` finds, and how long both searches take.

        Raises
        ------
        InvalidInput, InvalidType, NotSupported
        """
        store = self._store
        asked, _ = self._queries(queries)
        with store.reading() as view:
            return evaluated(view, asked, check.count(k), check.count(probes, "probes"))

    def close(self) -> None:
        """Let go of what is held; whatever is asked afterwards is refused. Closing twice is fine."""
        self._is_closed = True
        self._kept.close()
        if self._texts is not None:
            self._texts.close()

    # Below

    @classmethod
    def _of(cls, name: str, store: Store, texts: Texts | None) -> Self:
        made = cls.__new__(cls)
        made._name, made._kept, made._texts, made._is_closed = name, store, texts, False
        return made

    @property
    def _store(self) -> Store:
        """Where the rows are, for every operation.

        Raises
        ------
        InvalidInput
        """
        if self._is_closed:
            raise InvalidInput("this collection is closed")
        return self._kept

    def _told(self, name: str) -> AbstractContextManager[None]:
        """What an operation is done inside of, for whoever listens."""
        return operation(name, self._store.place)

    def _embedding(self) -> Texts:
        if self._texts is None:
            raise InvalidInput("texts need a model: open the collection with embedder=, as in 'local:all-MiniLM-L6-v2'")
        return self._texts

    def _queries(self, query: object) -> tuple[np.ndarray, bool]:
        if isinstance(query, str) or (isinstance(query, list) and query and all(isinstance(x, str) for x in query)):
            return self._embedding().queries(query), isinstance(query, str)
        found = check.shaped("query", on_host(query), single=True)
        array = np.asarray(found)
        if array.shape[-1] != self.dim:
            raise InvalidInput(
                f"the query has width {array.shape[-1]} and the collection {self.dim}; they must be the same"
            )
        # What is no number is refused where it is searched.
        if (array.dtype.kind == "f" or array.dtype.name == "bfloat16") and not np.isfinite(array).all():
            raise InvalidInput("the query has a NaN or an infinity, which nothing is close to")
        return (array[None, :], True) if array.ndim == 1 else (array, False)
