"""A corpus prepared once for many searches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays import certify, check
from vjaccel.arrays.dispatch import Choice, at_work, choose, home_of
from vjaccel.arrays.protocol import Array, Backend, Matches, Metric, Prepared, TopK
from vjaccel.errors import InvalidInput, InvalidType

__all__ = ["Corpus", "contradiction", "public_values", "result_dtype", "searched"]


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
        As in `vjaccel.get_backend`; otherwise where `vectors` are.

    Raises
    ------
    InvalidInput
        `vectors` is not two-dimensional, or the metric is unknown.
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
        self, vectors: object, *, metric: str | Metric = Metric.COSINE, backend: str | Backend | None = None
    ) -> None:
        self._metric = check.metric(metric, Metric, {})
        chosen = choose(backend, {"vectors": vectors})
        self._backend = chosen.backend
        self._named = chosen.named
        self._vectors, _ = check.vectors("vectors", vectors, self._backend, single=False)
        self._prepared: Prepared | None = None
        if len(self):
            with at_work(self._backend):
                self._prepared = self._backend.prepare(self._vectors, self._metric)

    def __len__(self) -> int:
        return int(self._vectors.shape[0])

    def __repr__(self) -> str:
        return f"<Corpus of {len(self)} x {self.dim}, {self.metric}, on {self._backend.name}:{self._backend.device}>"

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return int(self._vectors.shape[1])

    @property
    def metric(self) -> Metric:
        """What the corpus is searched by."""
        return self._metric

    @property
    def backend(self) -> Backend:
        """Where the corpus is."""
        return self._backend

    @property
    def vectors(self) -> Array:
        """The vectors, an array of the backend's library, shape (n, dim)."""
        return self._vectors

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
        k = min(check.count(k), len(self))
        asked = self._asked(queries, mask)
        with at_work(self._backend):
            values, indices = self._public(self._search(asked.queries, k, asked.mask), asked.dtype)
        if asked.single:
            values, indices = values[0, :], indices[0, :]
        return TopK(asked.choice.returned(values), asked.returned_numbers(indices))

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
        least = certify.least_score(self._metric, check.threshold(threshold, self._metric))
        most = None if max_per_query is None else check.count(max_per_query, "max_per_query")
        asked = self._asked(queries, mask)
        counts = np.zeros(asked.queries.shape[0], np.int64)
        ids, values = [np.empty(0, np.int64)], [np.empty(0, asked.dtype)]
        if self._prepared is not None:
            with at_work(self._backend):
                for found in certify.within(self._backend, asked.queries, self._prepared, least, asked.mask, most):
                    counts += np.bincount(found.queries, minlength=len(counts))
                    ids.append(found.ids)
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
        home = home_of(queries)
        here = home is None or (isinstance(self._backend, home[0]) and self._backend.device == home[1])
        if not here and not self._named:
            raise InvalidType(self._elsewhere(home))  # type: ignore[arg-type]  # not here, so it is somewhere
        array, single = check.vectors("queries", queries, self._backend)
        check.same_dim("queries", array, "the corpus", self._vectors)
        allowed = None if mask is None else check.mask(mask, array.shape[0], len(self), self._backend)
        choice = Choice(self._backend, home, self._named)
        return _Asked(choice, array, single, allowed, result_dtype(array, self._vectors))

    def _search(self, queries: Array, k: int, mask: Array | None) -> TopK:
        if self._prepared is None or not queries.shape[0]:
            shape = (int(queries.shape[0]), k)
            return TopK(self._backend.asarray(np.empty(shape)), self._backend.asarray(np.empty(shape, np.int64)))
        return self._backend.topk(queries, self._prepared, k, mask)

    def _public(self, found: TopK, dtype: str) -> tuple[Array, Array]:
        """Scores, the larger the closer, as the metric's own values, in the result's dtype."""
        xp = array_namespace(found.values)
        with self._backend.float64():
            values = found.values if self._metric.is_similarity else -found.values
            if self._metric is Metric.EUCLIDEAN:
                values = xp.sqrt(values)
            return (
                xp.astype(values, getattr(xp, dtype)),
                xp.astype(found.indices, getattr(xp, self._backend.capabilities.index_dtype)),
            )

    def _elsewhere(self, home: tuple[type[Backend], str]) -> str:
        cls, device = home
        return (
            f"queries are on {cls.name}:{device} and the corpus on {self._backend.name}:{self._backend.device}; nothing "
            f"leaves a device unasked. Make it Corpus(..., backend='{cls.name}:{device}'), or convert the queries"
        )


def public_values(metric: Metric, scores: np.ndarray) -> np.ndarray:
    """Scores, the larger the closer, as the metric's own values."""
    values = scores if metric.is_similarity else 0.0 - scores  # never -0.0
    return np.sqrt(values) if metric is Metric.EUCLIDEAN else values


def drained(parts: list[np.ndarray]) -> np.ndarray:
    """All of `parts` as one array; each is given up as it is copied, so that they never exist twice."""
    whole = np.empty(sum(map(len, parts)), parts[0].dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def contradiction(metric: str | Metric | None, corpus: Corpus) -> None:
    """Refuse a metric that is not the corpus' own.

    Raises
    ------
    InvalidInput
    """
    if metric is not None and metric != corpus.metric:
        raise InvalidInput(
            f"metric={str(metric)!r} contradicts the corpus, which was prepared for {corpus.metric.value!r}"
        )


def searched(queries: object, corpus: object, metric: str | Metric | None, backend: str | Backend | None) -> Corpus:
    """What a search of `corpus` searches: itself, or a corpus made of its rows where the call computes.

    Raises
    ------
    InvalidInput
        A metric or a backend that contradicts a corpus' own.
    """
    if not isinstance(corpus, Corpus):
        chosen = choose(backend, {"queries": queries, "corpus": corpus}).backend
        return Corpus(corpus, metric=metric or Metric.COSINE, backend=chosen)
    contradiction(metric, corpus)
    if backend is not None and choose(backend, {"queries": queries}).backend is not corpus.backend:
        place = f"{corpus.backend.name}:{corpus.backend.device}"
        raise InvalidInput(f"backend={str(backend)!r} contradicts the corpus, which is on {place!r}")
    return corpus


def result_dtype(*arrays: Array) -> str:
    """That of the values of a search among `arrays`."""
    names = {str(x.dtype).rpartition(".")[2] for x in arrays}
    return "float64" if "float64" in names else "float32"
