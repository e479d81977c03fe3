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
from vjaccel.collection.judging import NOT_FINITE, judged_vector
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
    """An array (n, dim), on the host or a device, which is used as it is; or a sequence of anything, as float32.

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
        found = dim if dim is not None else self._first_width()
        self.dim = found or 1
        self.has_width = found is not None
        """Whether any of them has one, where none was asked for."""

    def __len__(self) -> int:
        return int(self._all.shape[0]) if self.is_array else len(self._all)

    @property
    def on_device(self) -> str | None:
        """The library and device that they are an array of; None on the host."""
        return None if self._home is None else f"{self._home[0].name}:{self._home[1]}"

    def item(self, index: int) -> Vector:
        """One of them; a row without more has neither an id nor metadata."""
        found = self._all[index]
        return found if isinstance(found, Vector) else Vector(None, found)

    def other_width(self) -> int | None:
        """The width of the first that has one, where none of them has the one that they must have."""
        if self.is_array:
            width = int(self._all.shape[1])
            return width if len(self) and width != self.dim else None
        first = None
        for item in self._all:
            row = _judged(item, None)[0]
            if row is not None and len(row) == self.dim:
                return None
            first = first if row is None or first is not None else len(row)
        return first

    def items(self, low: int, high: int) -> Any:
        """Those from `low` to `high`, as they were given."""
        return self._all[low:high]

    @contextmanager
    def block(self, low: int, high: int) -> Iterator[Block]:
        """Those from `low` to `high`; the rows of a list may be used inside the block alone."""
        if self.is_array:
            yield self._of_array(low, high)
            return
        # A number beyond float32 becomes an infinity, which is found.
        with self._buffers.taken(high - low, self.dim) as buffer, np.errstate(over="ignore"):
            yield self._of_list(low, high, buffer)

    def _first_width(self) -> int | None:
        if self.is_array:
            return int(self._all.shape[1])
        rows = (_judged(item, None)[0] for item in self._all)
        return next((len(row) for row in rows if row is not None), None)

    def _of_array(self, low: int, high: int) -> Block:
        rows = self._all[low:high]
        if rows.shape[1] != self.dim:
            why = ("DIMENSION_MISMATCH", f"the embedding has {rows.shape[1]} numbers, and {self.dim} are needed")
            return Block(rows[:0], np.empty(0, np.int64), [ItemError(i, *why) for i in range(low, high)])
        if self._home is None and (rows.dtype.kind != "f" or _surely_finite(rows)):
            return Block(rows, None, [])
        xp = array_namespace(rows)
        finite = xp.all(xp.isfinite(rows), axis=1)
        good = finite if self.on_device is None else get_backend(self.on_device).to_numpy(finite)
        if good.all():
            return Block(rows, None, [])
        places = np.flatnonzero(good)
        errors = [ItemError(low + int(i), *NOT_FINITE) for i in np.flatnonzero(~good)]
        return Block(xp.take(rows, xp.asarray(places), axis=0), places, errors)

    def _of_list(self, low: int, high: int, buffer: np.ndarray) -> Block:
        places, errors, filled = [], [], 0
        for index in range(low, high):
            row, why = _judged(self._all[index], self.dim)
            if why is not None:
                errors.append(ItemError(index, *why))
            else:
                buffer[filled] = row
                places.append(index - low)
                filled += 1
        rows = buffer[:filled]
        if not _surely_finite(rows):
            finite = np.isfinite(rows).all(axis=1)
            errors += [ItemError(low + places[i], *NOT_FINITE) for i in np.flatnonzero(~finite)]
            places = [place for place, good in zip(places, finite, strict=True) if good]
            rows = rows[finite]
        return Block(
            rows, np.array(places, np.int64) if errors else None, sorted(errors, key=lambda error: error.index)
        )


def _judged(item: Any, dim: int | None) -> tuple[np.ndarray | None, tuple[str, str] | None]:
    """The numbers of an item, or why it has none."""
    numbers = item.embedding if isinstance(item, Vector) else item
    if type(numbers) is np.ndarray and numbers.dtype.kind == "f" and numbers.shape == (dim,):
        return numbers, None  # that its numbers are finite is looked at for all rows at once
    if numbers is None and item is not None:
        return None, ("EMPTY_EMBEDDING", "the embedding is None")
    return judged_vector(numbers, dim)


def _surely_finite(rows: np.ndarray) -> bool:
    """Whether no number is NaN or infinite, by one pass: False may also be said of numbers whose squares overflow."""
    if rows.dtype.name in FLOATS and rows.flags.c_contiguous:
        with np.errstate(all="ignore"):
            return bool(np.isfinite(np.vdot(rows, rows)))
    return bool(np.isfinite(rows).all())
