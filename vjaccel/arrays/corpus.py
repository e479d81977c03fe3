"""A corpus prepared once for many searches, and changed where it is."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays import check
from vjaccel.arrays.certified_range import least_score
from vjaccel.arrays.dispatch import Choice, at_work, choose, home_of, is_at, told
from vjaccel.arrays.held import Held, Way
from vjaccel.arrays.numbering import Numbering
from vjaccel.arrays.parts import Parted
from vjaccel.arrays.placing import placed
from vjaccel.arrays.protocol import Array, Backend, Coarse, Matches, Metric, TopK
from vjaccel.arrays.registry import DEFAULT, get_backend
from vjaccel.arrays.results import Best, drained, public, public_values, result_dtype
from vjaccel.arrays.turns import Turns
from vjaccel.errors import InvalidInput, InvalidType

__all__ = ["Corpus"]


class _Asked(NamedTuple):
    """Queries and a mask, checked, on a corpus' backend."""

    choice: Choice
    queries: Array
    single: bool
    mask: Array | None
    dtype: str
    """That of the values."""

    def returned_numbers(self, x: Array) -> Array:
        # JAX without x64 has no int64, but its int32 is nobody else's: a host result has NumPy's own.
        found = self.choice.returned(x)
        return found.astype(np.int64, copy=False) if self.choice.home is None else found


class Corpus:
    """Vectors on a backend, with what searching them by one metric needs computed once.

    Parameters
    ----------
    vectors : array_like, shape (n, dim)
        float16, bfloat16, float32, float64, integers or bool. Not copied where the backend can use it as it is, so do not
        change it while the corpus is in use.
    metric : {"cosine", "dot", "euclidean", "sqeuclidean", "manhattan"}
    backend : str, optional
        As in `vjaccel.get_backend`; otherwise where `vectors` are. Several devices, as ``"torch:gpu:0,1"``: the rows are cut
        over them in order, and searched on all at once. An array that JAX has sharded by rows is searched where it lies.
    resident : bool, optional
        Whether `vectors` of the host go to the device to stay. Otherwise they stay on the host, each search sends them
        through the device in parts, with the same answers, and they cannot be changed. By default they go if they fit; a
        `numpy.memmap` that a CPU's backend would have to copy stays where it is.
    sketch : {"int8"}, optional
        Keep a copy in 8 bits beside the vectors, a quarter more memory for float32, and scan that where it is faster: for few
        queries. The answers are the same.
    scan : {"tf32", "float16"}, optional
        Scan by matrix products of coarser numbers, where the device has units for them: a GPU, by `Capabilities.scans`. The
        answers are the same, by the same certificate; a query whose rows lie too close together for it is scanned again as
        usual. "tf32" takes no more memory. "float16" keeps a scaled copy beside the vectors, half as much memory again
        for float32, and reads half the bytes.

    Raises
    ------
    InvalidInput
        `vectors` is not two-dimensional; the metric, the sketch or the scan is unknown; or both are asked for.
    NotSupported
        The backend has no such sketch, or its device no such scan, for the metric; or a corpus that stays on the host is to
        have a sketch.
    InvalidType
        A dtype that is no real number.
    UnknownBackend, BackendUnavailable

    Examples
    --------
    >>> import vjaccel as vj
    >>> corpus = vj.Corpus([[1.0, 0.0], [0.0, 1.0]])
    >>> corpus.topk([0.9, 0.1], k=1).indices
    array([0])
    """

    def __init__(
        self,
        vectors: object,
        *,
        metric: str | Metric = Metric.COSINE,
        backend: str | Backend | None = None,
        resident: bool | None = None,
        sketch: Literal["int8"] | None = None,
        scan: Coarse | None = None,
    ) -> None:
        self._metric = check.metric(metric, Metric, {})
        if sketch not in (None, "int8"):
            raise InvalidInput(f"sketch {sketch!r} is unknown; it is 'int8', or None for no sketch")
        if scan not in (None, "tf32", "float16"):
            raise InvalidInput(
                f"scan {scan!r} is unknown; it is 'tf32', 'float16', or None for the vectors' own precision"
            )
        if sketch is not None and scan is not None:
            raise InvalidInput(
                f"sketch={sketch!r} and scan={scan!r} are two ways to scan a corpus; ask for one of them"
            )
        self._way = Way(sketch, scan)
        chosen = choose(backend, {"vectors": vectors})
        self._backend = chosen.backend
        self._named = chosen.named
        self._turns = Turns()
        self._numbering = Numbering(self._backend)
        self._changed = False
        with told("prepare", self._backend):
            self._none, self._held = self._placed(vectors, resident)

    def __len__(self) -> int:
        if self._held is None:
            return 0
        return self._numbering.count(self._held.rows)

    def __repr__(self) -> str:
        return f"<Corpus of {len(self)} x {self.dim}, {self.metric}, on {self._backend.name}:{self._backend.device}>"

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return int(self._none.shape[1])

    @property
    def metric(self) -> Metric:
        """What the corpus is searched by."""
        return self._metric

    @property
    def backend(self) -> Backend:
        """Where the corpus is."""
        return self._backend

    @property
    def resident(self) -> bool:
        """Whether the vectors are on the device to stay; otherwise each search sends them there in parts."""
        return self._held is None or self._held.resident

    @property
    def vectors(self) -> Array:
        """The vectors, shape (n, dim), an array of the backend's library; a copy, once the corpus was changed.

        Those that stay on the host are the host's.
        """
        with self._turns.search():
            return self._rows()

    def take(self, positions: object) -> Array:
        """Some of the vectors, shape (n, dim), an array of the backend's library: a copy.

        Parameters
        ----------
        positions : int or array_like of int, shape (n,)
            Each once, from 0 to ``len(corpus) - 1``.

        Raises
        ------
        InvalidInput, InvalidType

        Examples
        --------
        >>> Corpus([[1.0, 0.0], [0.0, 1.0]]).take([1])
        array([[0., 1.]])
        """
        with self._turns.search(), at_work(self._backend):
            ids = self._ids(positions)
            if self._held is None:
                return self._none
            vectors = self._held.vectors
            if isinstance(vectors, np.ndarray):
                return vectors[ids]
            with self._backend.float64():
                return array_namespace(vectors).take(vectors, self._backend.asarray(ids), axis=0)

    def add(self, rows: object) -> None:
        """Add rows at the end, on the corpus' own device; what is there is not uploaded again.

        Parameters
        ----------
        rows : array_like, shape (n, dim) or (dim,)
            Copied, as the corpus' own dtype.

        Raises
        ------
        InvalidInput, InvalidType

        Notes
        -----
        After any change the corpus is what it would be if it were made anew of its rows: a search gives the same rows, and
        positions are 0 to ``len(corpus) - 1``. A search in another thread sees the corpus before a change or after it.

        Examples
        --------
        >>> corpus = Corpus([[1.0, 0.0]])
        >>> corpus.add([[0.0, 1.0], [1.0, 1.0]])
        >>> corpus.topk([0.0, 2.0], k=2).indices
        array([1, 2])
        """
        array = self._given_rows(rows)
        if not array.shape[0]:
            return
        with self._turns.change(), at_work(self._backend, "add"):
            if self._held is None:
                array = array_namespace(array).concat([self._none, array])  # a copy
                _, self._held = self._placed(array, None)
            else:
                self._held = self._held.extended(array)
            self._numbering.added(array.shape[0])
            self._mark_changed()

    def update(self, positions: object, rows: object) -> None:
        """Put other rows in the place of those at `positions`, on the corpus' own device.

        Parameters
        ----------
        positions : int or array_like of int, shape (n,)
            Each once, from 0 to ``len(corpus) - 1``.
        rows : array_like, shape (n, dim), or (dim,) for one position
            Copied, as the corpus' own dtype.

        Raises
        ------
        InvalidInput, InvalidType

        Examples
        --------
        >>> corpus = Corpus([[1.0, 0.0], [0.0, 1.0]])
        >>> corpus.update(0, [0.0, -1.0])
        >>> corpus.topk([0.0, -3.0], k=1).indices
        array([0])
        """
        array = self._given_rows(rows)
        with self._turns.change():
            ids = self._ids(positions)
            if len(ids) != array.shape[0]:
                raise InvalidInput(
                    f"positions names {len(ids)} rows and rows has {array.shape[0]}; they must be as many"
                )
            if self._held is not None and len(ids):
                with at_work(self._backend, "update"):
                    self._held = self._held.replaced(ids, array)
                    self._mark_changed()

    def remove(self, positions: object) -> None:
        """Remove the rows at `positions`; those behind them move up, as in a list.

        Removed rows are marked, and passed over by a search; when they are a quarter of all, the others are copied together.

        Parameters
        ----------
        positions : int or array_like of int, shape (n,)
            Each once, from 0 to ``len(corpus) - 1``.

        Raises
        ------
        InvalidInput, InvalidType

        Examples
        --------
        >>> corpus = Corpus([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> corpus.remove([0])
        >>> corpus.topk([1.0, 1.0], k=2).indices
        array([1, 0])
        """
        with self._turns.change():
            ids = self._ids(positions)
            if self._held is None or not len(ids):
                return
            with at_work(self._backend, "remove"):
                self._held = self._held.removed(ids)
                alive = self._numbering.removed(ids, self._held.rows)
                self._mark_changed()
                if 4 * alive.sum() <= 3 * len(alive):
                    self._held = self._held.compacted(alive)
                    self._numbering = Numbering(self._backend)

    def _mark_changed(self) -> None:
        if not self._changed:
            # A copy: a view of what was given would keep it all.
            self._none = array_namespace(self._none).concat([self._none[:0, :], self._none[:0, :]])
        self._changed = True

    def _given_rows(self, rows: object) -> Array:
        array, _ = check.vectors("rows", rows, self._checked_home("rows", rows))
        check.same_dim("rows", array, "the corpus", self._none)
        with at_work(self._backend):
            return array_namespace(array).astype(array, self._none.dtype)

    def _ids(self, positions: object) -> np.ndarray:
        """The rows of the prepared corpus at `positions`."""
        return self._numbering.places(check.positions(positions, len(self)))

    def _rows(self) -> Array:
        if self._held is None:
            return self._none
        vectors = self._held.vectors
        if not self._changed:
            return vectors
        xp = array_namespace(vectors)
        with at_work(self._backend):
            if self._numbering.alive is None:
                return xp.concat([vectors, self._none])
            return xp.take(vectors, self._backend.asarray(np.flatnonzero(self._numbering.alive)), axis=0)

    def topk(self, queries: object, k: int = 10, *, mask: object = None) -> TopK:
        """The `k` closest rows for each query, exactly: the ids of a float64 brute force, ties to the lower index.

        Parameters
        ----------
        queries : array_like, shape (n_queries, dim) or (dim,)
        k : int
            At least 1; above ``len(self)`` it is that.
        mask : array_like of bool, shape (n,) or (n_queries, n), optional
            True where a row may be returned.

        Returns
        -------
        TopK
            Best first, of the library and device of `queries`; one-dimensional for one query. Rows with a NaN or an
            infinity are never returned, and such a query finds nothing.

        Raises
        ------
        InvalidInput, InvalidType
            A shape, width, dtype or `k` that cannot be; queries on another device than a corpus that was not put on a
            named backend.
        """
        k = check.count(k)
        with self._turns.search(), at_work(self._backend, "topk"):
            asked = self._asked(queries, mask)
            found = self._search(asked.queries, min(k, len(self)), asked.mask)
            values, indices = public(self._backend, self._metric, found, asked.dtype)
            if asked.single:
                values, indices = values[0, :], indices[0, :]
            return TopK(asked.choice.returned(values), asked.returned_numbers(indices))

    def best(self, queries: object, k: int, *, mask: object = None) -> Best:
        """As `topk` of several queries, before the scores are rounded to values."""
        with self._turns.search(), at_work(self._backend, "topk"):
            asked = self._asked(queries, mask)
            found = self._search(asked.queries, min(check.count(k), len(self)), asked.mask)
            scores, ids = (self._backend.to_numpy(x) for x in found)
            return Best(scores, ids.astype(np.int64, copy=False), asked.dtype)

    def within(
        self, queries: object, threshold: float, *, mask: object = None, max_per_query: int | None = None
    ) -> Matches:
        """All rows that reach `threshold` for each query, exactly: those of a float64 brute force, best first.

        Parameters
        ----------
        queries : array_like, shape (n_queries, dim) or (dim,)
        threshold : float
            The least similarity (cosine, dot), or the largest distance, that is returned; itself included. It is compared
            to the value in float64, before that is rounded to the result's dtype.
        mask : array_like of bool, shape (n,) or (n_queries, n), optional
            True where a row may be returned.
        max_per_query : int, optional
            At most so many rows for each query, the best.

        Returns
        -------
        Matches
            Of the library and device of `queries`: offsets of each query, then rows and values, best first, ties by
            lower index. Rows with a NaN or an infinity are never returned, and such a query finds nothing.

        Raises
        ------
        InvalidInput, InvalidType
            As `topk`; a threshold that is NaN, or negative for a distance.

        Examples
        --------
        >>> corpus = Corpus([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], metric="euclidean")
        >>> corpus.within([0.0, 0.0], 1.0).indices
        array([0, 2])
        """
        least = least_score(self._metric, check.threshold(threshold, self._metric))
        most = None if max_per_query is None else check.count(max_per_query, "max_per_query")
        with self._turns.search(), at_work(self._backend, "within"):
            asked = self._asked(queries, mask)
            counts = np.zeros(asked.queries.shape[0], np.int64)
            ids, values = [np.empty(0, np.int64)], [np.empty(0, asked.dtype)]
            if self._held is not None:
                for found in self._held.within(asked.queries, least, asked.mask, most):
                    counts += np.bincount(found.queries, minlength=len(counts))
                    ids.append(self._numbering.positions(found.ids))
                    values.append(public_values(self._metric, found.scores).astype(asked.dtype))
            offsets = np.concatenate([[0], np.cumsum(counts)])
            numbers = self._backend.capabilities.index_dtype
            return Matches(
                asked.choice.taken(offsets, numbers),
                asked.choice.taken(drained(ids), numbers),
                asked.choice.taken(drained(values), asked.dtype),
            )

    def _asked(self, queries: object, mask: object) -> _Asked:
        """What a search is asked, checked, and on the corpus' backend."""
        array, single = check.vectors("queries", queries, self._checked_home("queries", queries))
        check.same_dim("queries", array, "the corpus", self._none)
        # A mask over parts is cut before it is moved: it may be too much for one device.
        cut = isinstance(self._held, Parted) and home_of(mask) is None
        place = get_backend(DEFAULT) if cut else self._backend
        allowed = None if mask is None else check.mask(mask, array.shape[0], len(self), place)
        if allowed is not None and len(self):
            allowed = self._numbering.mask(allowed, on_host=cut)
        choice = Choice(self._backend, home_of(queries), self._named)
        return _Asked(choice, array, single, allowed, result_dtype(array, self._none))

    def _placed(self, vectors: object, resident: bool | None) -> tuple[Array, Held | None]:
        return placed(vectors, self._backend, self._metric, self._way, named=self._named, resident=resident)

    def _search(self, queries: Array, k: int, mask: Array | None) -> TopK:
        if self._held is None or not queries.shape[0]:
            shape = (int(queries.shape[0]), k)
            return TopK(self._backend.asarray(np.empty(shape)), self._backend.asarray(np.empty(shape, np.int64)))
        return self._numbering.named(self._held.topk(queries, k, mask))

    def _checked_home(self, name: str, x: object) -> Backend:
        """The corpus' backend, where `x` is, or may go.

        Raises
        ------
        InvalidType
            It is on another device, and nobody put the corpus where it is by name.
        """
        home = home_of(x)
        if home is None or self._named or is_at(self._backend, home):
            return self._backend
        cls, device = home
        raise InvalidType(
            f"{name} are on {cls.name}:{device} and the corpus on {self._backend.name}:{self._backend.device}; nothing "
            f"leaves a device unasked. Make it Corpus(..., backend='{cls.name}:{device}'), or convert the {name}"
        )
