"""What a backend is. Read this first.

A backend is a small class, made for one device of one array library. It gives the vector operations on input that
`vjaccel.arrays.ops` has already checked: two-dimensional arrays of its own library on its own device, of one width, in a
floating dtype. Search is written once, in `certify`, `certified_range` and `certified_pairs`, from `scan`, `above`
and `rescore`.

`vjaccel.arrays.generic.GenericBackend` has all of it in array-API terms: subclass that, and override what your library
does better.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

__all__ = [
    "Array",
    "Backend",
    "Capabilities",
    "Coarse",
    "Matches",
    "Metric",
    "Pairs",
    "Prepared",
    "Scanning",
    "Sketching",
    "TopK",
]

Array: TypeAlias = Any
"""An array of any library; the contract is the array API standard, which has no type to name."""


Coarse: TypeAlias = Literal["tf32", "float16"]
"""A scan by matrix products of inputs rounded to 11 bits, summed in float32."""


class Metric(StrEnum):
    """How two vectors are compared."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    SQEUCLIDEAN = "sqeuclidean"
    MANHATTAN = "manhattan"

    @property
    def is_similarity(self) -> bool:
        """Whether a larger value means closer; otherwise it is a distance."""
        return self in (Metric.COSINE, Metric.DOT)


class TopK(NamedTuple):
    """The best rows of a corpus for each query, best first.

    Attributes
    ----------
    values : array, shape (n_queries, k) or (k,)
        Descending similarities, or ascending distances. Where fewer than k rows may be returned: -inf, or +inf for a
        distance.
    indices : array of integers, the same shape
        Rows of the corpus; -1 where there is none. int64, or int32 on JAX without x64.
    """

    values: Array
    indices: Array


class Matches(NamedTuple):
    """The rows of a corpus that reach a threshold, query after query, best first in each.

    Query ``i`` has ``indices[offsets[i] : offsets[i + 1]]`` and the values there; one query alone has all of them.

    Attributes
    ----------
    offsets : array of integers, shape (n_queries + 1,)
    indices : array of integers, shape (matches,)
        Rows of the corpus. int64, or int32 on JAX without x64; so are the offsets.
    values : array, shape (matches,)
        Descending similarities, or ascending distances.
    """

    offsets: Array
    indices: Array
    values: Array


class Pairs(NamedTuple):
    """The closest pairs of rows of one set, each once, best first.

    Attributes
    ----------
    left, right : array of integers, shape (pairs,)
        The rows, ``left < right``. int64, or int32 on JAX without x64.
    values : array, shape (pairs,)
        Descending similarities, or ascending distances.
    """

    left: Array
    right: Array
    values: Array


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do on its device.

    Attributes
    ----------
    float64 : bool
        Whether float64 input gives float64 results; otherwise they are float32.
    float16, bfloat16 : bool
        Whether the library has arrays of that dtype; the host's are taken as float32 where it has not.
    index_dtype : {"int64", "int32"}
        The dtype of `TopK.indices`.
    gradients : bool
        Whether results can be differentiated by the library.
    sketches : tuple of str
        The sketches that `Corpus` may be asked for: then the backend is `Sketching`.
    scans : tuple of str
        The coarser scans that `Corpus` may be asked for on this device: then the backend is `Scanning`.
    """

    float64: bool = True
    float16: bool = True
    bfloat16: bool = False
    index_dtype: Literal["int64", "int32"] = "int64"
    gradients: bool = False
    sketches: tuple[Literal["int8"], ...] = ()
    scans: tuple[Coarse, ...] = ()


class Prepared(Protocol):
    """A corpus as a backend wants it for one metric: opaque but for these."""

    @property
    def metric(self) -> Metric: ...
    @property
    def rows(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def vectors(self) -> Array:
        """The vectors that were given, shape (rows, dim), unchanged."""
        ...


@runtime_checkable
class Backend(Protocol):
    """The vector operations of one array library on one device.

    The class is registered in the entry-point group ``vjaccel.backends`` under its `name`. Its module is imported to list
    the backends there are, so it imports its array library only inside methods.
    """

    name: ClassVar[str]
    array_modules: ClassVar[tuple[str, ...]]
    """First parts of the module names of the array types that are this backend's, such as ``("jax", "jaxlib")``."""
    requires: ClassVar[tuple[str, ...]]
    """Distributions of which one must be installed; the first found gives the version shown."""
    install: ClassVar[str]
    """The command that installs what is missing."""

    device: str
    """``cpu`` (``cpu:N`` for a further one), ``gpu:N`` or ``mps``; of several devices, ``gpu:0,1``."""

    members: tuple[Backend, ...]
    """Of several devices, the backends among which a corpus is cut; all else is done on the first. Else none."""

    @property
    def capabilities(self) -> Capabilities: ...

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        """The devices that work here, the preferred first. Imports the library.

        Raises
        ------
        Exception
            Whatever the library or its driver raises; the registry reports it as the reason.
        """
        ...

    @classmethod
    def device_of(cls, x: Array) -> str:
        """The device, in the common spelling, of an array of this library."""
        ...

    def __init__(self, device: str) -> None:
        """Make a backend for one of `devices()`."""
        ...

    def asarray(self, x: Array) -> Array:
        """`x`, a NumPy array, an array of this library or anything with DLPack, on this device; copied only if it must be."""
        ...

    def upload(self, x: np.ndarray) -> Array:
        """`asarray` of rows that are sent once, in a thread of its own: by pinned memory, beside what is being computed."""
        ...

    def shards(self, x: Array) -> list[tuple[str, Array]] | None:
        """The rows of an array that lies on several devices, in order: on which some lie, and these, as an array there.

        None for any other array, and for one that is not divided by rows alone.
        """
        ...

    def to_numpy(self, x: Array) -> np.ndarray:
        """`x`, an array of this backend, on the host."""
        ...

    def synchronize(self) -> None:
        """Return when everything asked of the device has been done."""
        ...

    def is_out_of_memory(self, exc: BaseException) -> bool:
        """Whether `exc` says that the device's memory was exhausted."""
        ...

    def on_device(self) -> AbstractContextManager[object]:
        """Inside it the library computes on this device: CuPy needs to be told, others give a null context."""
        ...

    def float64(self) -> AbstractContextManager[object]:
        """Inside it float64 arrays can be made and kept: JAX needs to be told, others give a null context."""
        ...

    def normalize(self, x: Array) -> Array:
        """Each row divided by its Euclidean norm, shape (n, dim), dtype of `x`; a zero row stays zero."""
        ...

    def scores(self, metric: Metric, a: Array, b: Array) -> Array:
        """The metric's value for all pairs, shape (n, m): cosine, dot, or a distance."""
        ...

    def paired(self, metric: Metric, a: Array, b: Array) -> Array:
        """The metric's value row by row, shape (n,)."""
        ...

    def prepare(self, vectors: Array, metric: Metric) -> Prepared:
        """What searching `vectors` needs and can be computed once."""
        ...

    def extended(self, prepared: Prepared, vectors: Array) -> Prepared:
        """`prepared` with more rows at its end, copied to arrays of its own. `prepared` is given up, here and below.

        The whole is not copied each time: room for more rows is doubled when it is used up.
        """
        ...

    def replaced(self, prepared: Prepared, ids: np.ndarray, vectors: Array) -> Prepared:
        """`prepared` with `vectors` in the place of the rows `ids`, each named once. The vectors once given do not change."""
        ...

    def removed(self, prepared: Prepared, ids: np.ndarray) -> Prepared:
        """`prepared` whose rows `ids` are never found again; they keep their place."""
        ...

    def topk(self, queries: Array, prepared: Prepared, k: int, mask: Array | None) -> TopK:
        """The best `k` (at most `prepared.rows`) rows: `certify.topk`, unless the backend fuses it.

        Values are float64 scores, the larger the closer: cosine, dot, or a negated distance (euclidean: its square).
        `mask` is boolean, shape (rows,) or (n_queries, rows): True may be returned.
        """
        ...

    def error_bound(self, queries: Array, prepared: Prepared) -> tuple[Array, float]:
        """How far `scan`'s scores can be from `rescore`'s: float64 (n_queries,), and a factor of the score's magnitude.

        For every row, ``abs(scan - exact) <= absolute + relative * abs(exact)``. Infinity says that nothing is known.
        """
        ...

    def scan(self, queries: Array, prepared: Prepared, count: int, mask: Array | None) -> tuple[Array, Array]:
        """The best `count` rows by the device's fastest arithmetic: scores and row numbers, shape (n_queries, count).

        In any order, equals too. A row that may not be returned has score -inf and number -1; one whose score that
        arithmetic cannot give has +inf.
        """
        ...

    def above(
        self, queries: Array, prepared: Prepared, thresholds: Array, mask: Array | None
    ) -> Iterator[tuple[np.ndarray, Array]]:
        """The rows that may be returned whose `scan` score is not below the query's threshold, a part of the corpus at a time.

        `thresholds` is float64, shape (n_queries,). Each part is CSR: offsets (on the host, n_queries + 1), row numbers.
        """
        ...

    def rescore(self, queries: Array, prepared: Prepared, ids: Array) -> Array:
        """The exact scores of the rows `ids` (n_queries, c), float64, each row summed in one fixed order; -inf for id -1."""
        ...


@runtime_checkable
class Scanning(Protocol):
    """What a backend with `Capabilities.scans` has besides: a coarser and faster scan, with the same answers."""

    def prepare_scanned(self, vectors: Array, metric: Metric, scan: Coarse) -> Prepared:
        """`prepare`, for that scan; `error_bound` is then that scan's. `metric` is no manhattan, which has no product."""
        ...


@runtime_checkable
class Sketching(Protocol):
    """What a backend with `Capabilities.sketches` has besides: a coarser corpus to scan, with the same answers."""

    def prepare_sketched(self, vectors: Array, metric: Metric, sketch: Literal["int8"]) -> Prepared:
        """`prepare`, and the sketch.

        Raises
        ------
        NotSupported
            Not for this metric; the message says why.
        """
        ...
