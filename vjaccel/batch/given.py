"""The vectors of a request in arrays, batch by batch; what is no vector becomes an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays import get_backend
from vjaccel.arrays.dispatch import home_of
from vjaccel.batch.buffers import Buffers
from vjaccel.batch.requests import Vector
from vjaccel.embedding import ItemError
from vjaccel.errors import InvalidInput

__all__ = ["Block", "Vectors"]

FLOATS = ("float32", "float64")


class Block(NamedTuple):
    """The good vectors of a batch.

    Attributes
    ----------
    rows : array, shape (m, dim)
    places : ndarray of int64, shape (m,), or None
        Which of the batch they are; None for all of it.
    errors : list of ItemError
        Of the others.
    """

    rows: Any
    places: np.ndarray | None
    errors: list[ItemError]


class Vectors:
    """An array (n, dim), on the host or a device, or a sequence of anything.

    Parameters
    ----------
    dim : int, optional
        The width they must have; by default that of the first that has one.
    """

    def __init__(self, vectors: Any, dim: int | None, buffers: Buffers) -> None:
        self._buffers = buffers
        self._home = home_of(vectors)
        self.is_array = self._home is not None or (isinstance(vectors, np.ndarray) and vectors.dtype.kind in "fiub")
        if self.is_array and vectors.ndim != 2:
            raise InvalidInput(f"vectors has shape {tuple(vectors.shape)}; it needs (n, dim)")
        if not self.is_array and (isinstance(vectors, str | bytes) or not hasattr(vectors, "__iter__")):
            raise InvalidInput(f"vectors is an array or a list of vectors, not {type(vectors).__name__}")
        self._all: Any = vectors if self.is_array or isinstance(vectors, Sequence) else list(vectors)
        self.dim = dim if dim is not None else self._first_width()

    def __len__(self) -> int:
        return int(self._all.shape[0]) if self.is_array else len(self._all)

    @property
    def on_device(self) -> str | None:
        """The library and device that they are an array of; None on the host."""
        return None if self._home is None else f"{self._home[0].name}:{self._home[1]}"

    def item(self, index: int) -> Vector:
        """One of them; a row of an array has neither an id nor metadata."""
        found = self._all[index]
        return found if isinstance(found, Vector) else Vector(None, found)

    @contextmanager
    def block(self, low: int, high: int) -> Iterator[Block]:
        """Those from `low` to `high`; the rows of a list may be used inside the block alone."""
        if self.is_array:
            yield self._of_array(low, high)
            return
        with self._buffers.taken(high - low, self.dim) as buffer:
            yield self._of_list(low, high, buffer)

    def _first_width(self) -> int:
        if self.is_array:
            return int(self._all.shape[1])
        found = (judged(item, None) for item in self._all)
        return next((len(row) for row in found if not isinstance(row, Fault)), 1)

    def _of_array(self, low: int, high: int) -> Block:
        rows = self._all[low:high]
        if rows.shape[1] != self.dim:
            return Block(
                rows[:0], np.empty(0, np.int64), [wrong_width(rows.shape[1], self.dim).at(i) for i in range(low, high)]
            )
        if self._home is None and (rows.dtype.kind != "f" or _surely_finite(rows)):
            return Block(rows, None, [])
        xp = array_namespace(rows)
        finite = xp.all(xp.isfinite(rows), axis=1)
        good = finite if self.on_device is None else get_backend(self.on_device).to_numpy(finite)
        if good.all():
            return Block(rows, None, [])
        places = np.flatnonzero(good)
        errors = [NOT_FINITE.at(low + int(i)) for i in np.flatnonzero(~good)]
        return Block(xp.take(rows, xp.asarray(places), axis=0), places, errors)

    def _of_list(self, low: int, high: int, buffer: np.ndarray) -> Block:
        places, errors, filled = [], [], 0
        for index in range(low, high):
            found = judged(self._all[index], self.dim)
            if isinstance(found, Fault):
                errors.append(found.at(index))
            else:
                buffer[filled] = found
                places.append(index - low)
                filled += 1
        rows = buffer[:filled]
        if not _surely_finite(rows):
            finite = np.isfinite(rows).all(axis=1)
            errors += [NOT_FINITE.at(low + places[i]) for i in np.flatnonzero(~finite)]
            places = [place for place, good in zip(places, finite, strict=True) if good]
            rows = rows[finite]
        return Block(
            rows, np.array(places, np.int64) if errors else None, sorted(errors, key=lambda error: error.index)
        )


class Fault(NamedTuple):
    """Why something is no vector."""

    code: str
    message: str

    def at(self, index: int) -> ItemError:
        """As the error of an item."""
        return ItemError(index, self.code, self.message)


NOT_FINITE = Fault("INVALID_EMBEDDING", "the embedding has a NaN or an infinity")


def wrong_width(found: int, wanted: int) -> Fault:
    """An embedding of another width."""
    return Fault("DIMENSION_MISMATCH", f"the embedding has {found} numbers, and {wanted} are needed")


def judged(item: Any, dim: int | None) -> np.ndarray | Fault:
    """The numbers of an item, or why it has none; that they are finite is not looked at."""
    if item is None:
        return Fault("NIL_VECTOR", "the vector is None")
    numbers = item.embedding if isinstance(item, Vector) else item
    if type(numbers) is np.ndarray and numbers.dtype.kind == "f" and numbers.shape == (dim,):
        return numbers
    if numbers is None:
        return Fault("EMPTY_EMBEDDING", "the embedding is None")
    try:
        row = np.asarray(numbers)
    except (ValueError, TypeError):
        return Fault("INVALID_EMBEDDING", "the embedding is no row of numbers")
    if row.size == 0:
        return Fault("EMPTY_EMBEDDING", "the embedding is empty")
    if row.ndim != 1 or row.dtype.kind not in "fiu":
        return Fault("INVALID_EMBEDDING", "the embedding is no row of numbers")
    return row if dim in (None, len(row)) else wrong_width(len(row), dim or 0)


def _surely_finite(rows: np.ndarray) -> bool:
    """Whether no number is NaN or infinite, by one pass: False may also be said of numbers whose squares overflow."""
    if rows.dtype.name in FLOATS and rows.flags.c_contiguous:
        with np.errstate(all="ignore"):
            return bool(np.isfinite(np.vdot(rows, rows)))
    return bool(np.isfinite(rows).all())
