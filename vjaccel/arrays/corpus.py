"""A corpus prepared once for many searches."""

from __future__ import annotations

from typing import Literal

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays import check
from vjaccel.arrays.dispatch import Choice, at_work, choose, home_of
from vjaccel.arrays.protocol import Array, Backend, Metric, Prepared, Sketching, TopK
from vjaccel.errors import InvalidInput, InvalidType, NotSupported

__all__ = ["Corpus"]


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
    sketch : {"int8"}, optional
        Keep a copy in 8 bits beside the vectors, a quarter more memory for float32, and scan that where it is faster: for few
        queries. The answers are the same.

    Raises
    ------
    InvalidInput
        `vectors` is not two-dimensional, or the metric or the sketch is unknown.
    NotSupported
        The backend has no such sketch for the metric.
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
        sketch: Literal["int8"] | None = None,
    ) -> None:
        self._metric = check.metric(metric, Metric, {})
        if sketch not in (None, "int8"):
            raise InvalidInput(f"sketch {sketch!r} is unknown; it is 'int8', or None for no sketch")
        self._sketch = sketch
        chosen = choose(backend, {"vectors": vectors})
        self._backend = chosen.backend
        self._named = chosen.named
        self._vectors, _ = check.vectors("vectors", vectors, self._backend, single=False)
        self._prepared: Prepared | None = None
        if len(self):
            with at_work(self._backend):
                self._prepared = self._prepare()

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
        home = home_of(queries)
        here = home is None or (isinstance(self._backend, home[0]) and self._backend.device == home[1])
        if not here and not self._named:
            raise InvalidType(self._elsewhere(home))  # type: ignore[arg-type]  # not here, so it is somewhere
        choice = Choice(self._backend, home, self._named)
        array, single = check.vectors("queries", queries, self._backend)
        check.same_dim("queries", array, "the corpus", self._vectors)
        allowed = None if mask is None else check.mask(mask, array.shape[0], len(self), self._backend)
        wide = "float64" in (_dtype(array), _dtype(self._vectors))
        with at_work(self._backend):
            found = self._search(array, k, allowed)
            values, indices = self._public(found, "float64" if wide else "float32")
        if single:
            values, indices = values[0, :], indices[0, :]
        values, indices = choice.returned(values), choice.returned(indices)
        # JAX without x64 has no int64, but its int32 is nobody else's: a host result has NumPy's own.
        return TopK(values, indices.astype(np.int64, copy=False) if home is None else indices)

    def _prepare(self) -> Prepared:
        if self._sketch is None:
            return self._backend.prepare(self._vectors, self._metric)
        if self._sketch not in self._backend.capabilities.sketches:
            remark = getattr(type(self._backend), "remark", lambda: None)()
            raise NotSupported(
                f"backend {self._backend.name!r} scans the vectors themselves and has no sketch {self._sketch!r}"
                f"{f' ({remark})' if remark else ''}; leave it out"
            )
        assert isinstance(self._backend, Sketching)  # as its capabilities say
        return self._backend.prepare_sketched(self._vectors, self._metric, self._sketch)

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


def _dtype(x: Array) -> str:
    return str(x.dtype).rpartition(".")[2]
