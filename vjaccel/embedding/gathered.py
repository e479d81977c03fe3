"""The vectors of a run as they come, and where they go."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vjaccel.embedding.result import ItemError
from vjaccel.embedding.tally import Tally
from vjaccel.embedding.width import Width
from vjaccel.telemetry import Recording

__all__ = ["Gathered", "Rows"]


class Rows:
    """Vectors on the host for `size` texts, made when their width is known; or an array that was given."""

    def __init__(self, size: int, given: np.ndarray | None = None) -> None:
        self._size = size
        self._array = given
        self._lock = threading.Lock()

    def made(self, width: int) -> np.ndarray:
        """The array (size, width); rows that nobody wrote hold anything."""
        with self._lock:
            if self._array is None:
                self._array = np.empty((self._size, width), np.float32)
            return self._array


@dataclass
class Gathered:
    """The vectors of a chunk as they come, from several threads.

    On the host they go straight to their place in `rows`, from `start` on; on a device (`rows` is None) they are kept, and
    put in order once, at the end.

    Attributes
    ----------
    first, size : int
        The number in the run of the first text, and how many there are.
    recording : Recording
        Told what becomes of texts.
    acknowledged : callable, optional
        Told the numbers in the run, int64 (n,), and the vectors, float32 (n, dim), of texts as they get them.
    copies : list of (int, Gathered, int)
        Texts that were there before: the place of each, and where its vector is to be copied from.
    keys : dict of int to bytes
        Of texts that are to be kept in a cache.
    looked_up : int
        How many texts the cache had.
    set_aside : int
        How many had an error or a vector before any was embedded.
    chunks : ndarray of int64 or None
        How many windows each text was cut into; None where texts are not, 0 for those that were not looked at.
    tokens : ndarray of int64 or None
        Of each text; None where nobody counts them, 0 for those that were not looked at.
    """

    first: int
    size: int
    width: Width
    rows: Rows | None
    recording: Recording
    start: int = 0
    acknowledged: Callable[[np.ndarray, np.ndarray], object] | None = None
    copies: list[tuple[int, Gathered, int]] = field(default_factory=list)
    keys: dict[int, bytes] = field(default_factory=dict)
    looked_up: int = 0
    set_aside: int = 0
    chunks: np.ndarray | None = None
    tokens: np.ndarray | None = None
    parts: list[tuple[np.ndarray, Any]] = field(default_factory=list)
    ok: np.ndarray = field(init=False)
    errors: dict[int, ItemError] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.ok = np.zeros(self.size, np.bool_)
        self._kept: np.ndarray | None = None

    def put(self, indices: np.ndarray, vectors: Any, good: np.ndarray) -> None:
        """Keep the vectors of the texts `indices` of this chunk that are `good`."""
        if self.rows is None:
            with self.lock:
                self.parts.append((indices, vectors))
            self.ok[indices] = good
            return
        if not good.all():
            indices, vectors = indices[good], vectors[good]
        self.rows.made(vectors.shape[1])[self.start + indices] = vectors
        self.ok[indices] = True

    def acknowledge(self, indices: np.ndarray) -> None:
        """Tell of the texts `indices` of this chunk that have their vectors."""
        if self.acknowledged is not None and self.rows is not None and len(indices):
            self.acknowledged(self.first + indices, self.rows.made(0)[self.start + indices])

    def fail(self, index: int, code: str, message: str) -> None:
        """Note why the text `index` of this chunk has no vector."""
        with self.lock:
            self.errors[index] = ItemError(self.first + index, code, message)
            self.tally.failures[code] += 1
        self.recording.failed(self.first + index, code, message)

    def first_errors(self, count: int) -> list[ItemError]:
        """The first of the errors that there are so far."""
        with self.lock:
            return [self.errors[index] for index in sorted(self.errors)[:count]]

    def failures(self) -> Counter[str]:
        """Texts of this chunk that have failed until now, by their errors' code."""
        with self.lock:
            return self.tally.failures.copy()

    def cut_into(self, indices: np.ndarray, chunks: np.ndarray) -> None:
        """Note how many windows the texts `indices` of this chunk were cut into."""
        if self.chunks is None:
            self.chunks = np.zeros(self.size, np.int64)
        self.chunks[indices] = chunks

    def of_length(self, indices: np.ndarray, tokens: np.ndarray) -> None:
        """Note how many tokens the texts `indices` of this chunk have."""
        if self.tokens is None:
            self.tokens = np.zeros(self.size, np.int64)
        self.tokens[indices] = tokens

    def settled(self, indices: np.ndarray) -> bool:
        """Whether each of the texts `indices` of this chunk has a vector or an error."""
        return all(self.ok[i] or i in self.errors for i in indices.tolist())

    def copied(self) -> None:
        """Give texts that were there before what those have got: a vector, or an error. Those must be settled."""
        for index, source, place in self.copies:
            error = source.errors.get(place)
            if error is not None:
                self.fail(index, error.code, error.message)
                continue
            assert source.ok[place], "chunks are finished in their order"
            if self.rows is not None:
                stored = source.stored()
                self.rows.made(stored.shape[1])[self.start + index] = stored[source.start + place]
            self.ok[index] = True
            if source.chunks is not None:
                self.cut_into(np.array([index]), source.chunks[place])
            if source.tokens is not None:
                self.of_length(np.array([index]), source.tokens[place])
        self.tally.duplicates += len(self.copies)
        self.recording.settled("duplicate", sum(bool(self.ok[index]) for index, _, _ in self.copies))
        self.acknowledge(np.array([index for index, _, _ in self.copies if self.ok[index]], np.int64))

    def handed_over(self) -> Rows:
        """The vectors, for whom may change them; a copy is kept for texts that come again."""
        assert self.rows is not None
        rows, self.rows = self.rows, None
        # Each holds the chunk that it was copied from, which holds others: all that a stream has ever given out.
        self.copies.clear()
        self._kept = rows.made(self.width.known or 0).copy() if self.ok.any() else None
        return rows

    def stored(self) -> np.ndarray:
        """The vectors, at the places that `start` counts from."""
        if self.rows is None:
            assert self._kept is not None
            return self._kept
        return self.rows.made(self.width.known or 0)
