"""Searches that go on together, and changes that each go on alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Turns"]


class Turns:
    """Any number of searches at once, or one change; a change that waits is before the searches that come after it."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._searches = 0
        self._waiting = 0
        self._changing = False

    @contextmanager
    def search(self) -> Iterator[None]:
        """Inside it nothing changes."""
        with self._turn:
            self._turn.wait_for(lambda: not self._changing and not self._waiting)
            self._searches += 1
        try:
            yield
        finally:
            with self._turn:
                self._searches -= 1
                self._turn.notify_all()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Inside it nobody else searches or changes."""
        with self._turn:
            self._waiting += 1
            try:
                self._turn.wait_for(lambda: not self._changing and not self._searches)
                self._changing = True
            finally:
                self._waiting -= 1
                self._turn.notify_all()
        try:
            yield
        finally:
            with self._turn:
                self._changing = False
                self._turn.notify_all()
