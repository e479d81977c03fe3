"""What a request is once it is cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from vjaccel.batch.workers import Job
from vjaccel.embedding import ItemError

__all__ = ["VectorWork", "Work", "bounds_of", "left_undone"]


class Work(Protocol):
    """A request whose batches are to be run.

    Attributes
    ----------
    job : Job
        Its batches; set before they are run.
    total : int
        Its items.
    """

    job: Job
    total: int

    def pieces(self) -> list[partial[None]]:
        """Its batches."""
        ...

    def errors(self, code: str, why: str) -> tuple[ItemError, ...]:
        """Of all items that failed, by index; those of batches that were not done by `code` and `why`."""
        ...


class VectorWork(Work, Protocol):
    """One on vectors."""

    def results(self) -> Any:
        """As in `BatchVectorResponse`."""
        ...

    def scores(self) -> np.ndarray | None:
        """As in `BatchVectorResponse`."""
        ...


def bounds_of(total: int, size: int) -> list[tuple[int, int]]:
    """Where batches of `size` of so many items begin and end."""
    return [(low, min(low + size, total)) for low in range(0, total, size)]


def left_undone(places: Sequence[int], died: str | None, code: str, why: str) -> list[ItemError]:
    """The errors of the items of a batch that was not done."""
    if died is not None:
        code, why = "WORKER_DIED", f"the workers that had its batch died: {died}"
    return [ItemError(index, code, why) for index in places]
