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

    def add(self, items: int) -> None:
        """So many more are finished."""
        if not items:
            return
        with self._lock:
            self.done += items
            if self._callback is not None:
                try:
                    self._callback(self.done, self.total, time.perf_counter() - self._began)
                except Exception:
                    _log.warning("the progress callback has raised; the request goes on", exc_info=True)
