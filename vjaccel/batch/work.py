"""What a request is once it is cut into batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from vjaccel.batch.progress import Finished
from vjaccel.batch.workers import Job
from vjaccel.embedding import ItemError

__all__ = ["Stopped", "VectorWork", "Work"]

Found = TypeVar("Found")
"""What one batch finds."""


class Stopped(Exception):
    """The request is over, and a batch of it under way."""


class Work(Generic[Found]):
    """A request that is cut into batches; a subclass does one of them, and keeps what it has found.

    Parameters
    ----------
    total : int
        Items of the request.
    batch_size : int
    cut : int, optional
        What the batches are cut of, where that is not the items: these are then finished in proportion.

    Attributes
    ----------
    job : Job
        Its batches; set before they are run.
    can_be_left : bool
        Whether the request may end while a batch of it goes on, of which nothing is kept then.
    """

    can_be_left = True

    def __init__(self, total: int, batch_size: int, finished: Finished, *, cut: int | None = None) -> None:
        self.job: Job
        self.total = total
        self._cut = total if cut is None else cut
        self._finished = finished
        self._bounds = [(low, min(low + batch_size, self._cut)) for low in range(0, self._cut, batch_size)]
        self._errors: dict[int, Sequence[ItemError]] = {}
        """Of the batches that are done, by their numbers."""
        self._lock = threading.Lock()
        self._over = False

    def pieces(self) -> list[partial[None]]:
        """Its batches."""
        return [partial(self._batch, place) for place in range(len(self._bounds))]

    def end(self) -> None:
        """Keep nothing any more of what still goes on."""
        with self._lock:
            self._over = True

    def errors(self, code: str, why: str) -> tuple[ItemError, ...]:
        """Of all items that failed, by index; those of batches that were not done by `code` and `why`."""
        found: list[ItemError] = []
        for place, (low, high) in enumerate(self._bounds):
            done = place in self._errors
            found += self._errors[place] if done else self._undone(place, range(low, high), code, why)
        return tuple(found)

    # What a subclass gives

    def _do(self, low: int, high: int) -> Found:
        """Do the batch from `low` to `high`; it may raise `Stopped`."""
        raise NotImplementedError

    def _keep(self, low: int, high: int, found: Found) -> Sequence[ItemError]:
        """Keep what was found, one batch after the other: the errors of its items."""
        raise NotImplementedError

    # What it may use

    def _tell(self, low: int, done: int) -> None:
        """So many of the batch that begins at `low` are done."""
        items = self.total * (low + done) // self._cut - self.total * low // self._cut
        self._finished.tell(low, items)

    def _undone(self, place: int, items: Sequence[int], code: str, why: str) -> list[ItemError]:
        """The errors of items of a batch that was not done."""
        died = self.job.died.get(place)
        if died is not None:
            code, why = "WORKER_DIED", f"the workers that had its batch died: {died}"
        return [ItemError(index, code, why) for index in items]

    # Below

    def _batch(self, place: int) -> None:
        if self.job.is_over():
            return
        low, high = self._bounds[place]
        try:
            found = self._do(low, high)
        except Stopped:
            return
        with self._lock:
            if self._over:
                return
            self._errors[place] = self._keep(low, high, found)
        self._tell(low, high - low)


class VectorWork(Work[Found]):
    """One on vectors: what of a `BatchVectorResponse` it fills."""

    def results(self) -> Any:
        """As there."""
        return None

    def scores(self) -> np.ndarray | None:
        """As there."""
        return None
