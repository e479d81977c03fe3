"""The width that all vectors of a model have, and who is believed of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Contradicted", "Width"]


class Contradicted(Exception):
    """Two batches have agreed on another width than the first vectors had, before any had confirmed that one."""


class Width:
    """What the provider says beforehand, or what vectors show.

    What is said beforehand holds. What the first vectors show may be what one reply got wrong, and everything that is right
    would be refused after it: it holds once a second batch has the same.

    Parameters
    ----------
    known : int or None
        What is known before there is any vector.
    told : callable, optional
        Called with what is known from vectors that there were before.
    """

    def __init__(self, known: int | None, told: Callable[[int], object] | None = None) -> None:
        self.known = known
        self._told = told
        self._confirmed = known is not None
        self._shown_by: object = None
        self._other: tuple[int, object] | None = None
        self._lock = threading.Lock()

    def first(self, seen: int) -> int:
        """The width there is to be, now that there were vectors of width `seen` before: maybe another model's."""
        with self._lock:
            if self.known is None:
                self.known = seen
                if self._told is not None:
                    self._told(seen)
            return self.known

    def agrees(self, seen: int, batch: object) -> bool:
        """Whether vectors of width `seen`, of which `batch` has come, are as wide as they are to be.

        Raises
        ------
        Contradicted
            Two batches say another one, and none but the first the one there is to be.
        """
        with self._lock:
            if self.known is None:
                self.known, self._shown_by = seen, batch
            if seen == self.known:
                self._confirmed = self._confirmed or batch is not self._shown_by
                return True
            if self._confirmed:
                return False
            if self._other is not None and self._other[0] == seen and self._other[1] is not batch:
                raise Contradicted(
                    f"the first vectors have width {self.known}, and those of two batches since then {seen}"
                )
            self._other = seen, batch
            return False
