"""How far a request is, told as its items are finished."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

__all__ = ["Finished", "ProgressCallback"]

ProgressCallback = Callable[[int, int, float], object]
"""Told how many items are finished, of how many, and the seconds since the request began."""

_log = logging.getLogger("vjaccel.batch")


class Finished:
    """Counts the items of one request that are finished, by several threads, and tells of it in order of time.

    A callback that raises is logged, and hurts nothing.
    """

    def __init__(self, total: int, callback: ProgressCallback | None) -> None:
        self.total = total
        self.done = 0
        self._callback = callback
        self._began = time.perf_counter()
        self._lock = threading.Lock()
        self._told: dict[int, int] = {}

    def tell(self, batch: int, items: int) -> None:
        """So many items of a batch are finished; one that is begun anew, as its worker has died, tells nothing twice."""
        with self._lock:
            more = items - self._told.get(batch, 0)
            if more > 0:
                self._told[batch] = items
                self._add(more)

    def complete(self) -> None:
        """The others are over too, if there are any: those of batches whose workers died."""
        with self._lock:
            if self.done < self.total:
                self._add(self.total - self.done)

    def end(self) -> None:
        """Tell nothing any more."""
        with self._lock:
            self._callback = None

    def _add(self, items: int) -> None:
        self.done += items
        if self._callback is not None:
            try:
                self._callback(self.done, self.total, time.perf_counter() - self._began)
            except Exception:
                _log.warning("the progress callback has raised; the request goes on", exc_info=True)
