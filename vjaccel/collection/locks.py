"""One writer at a time: among the threads of this process, and among processes for a collection in a local folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["WriterLock"]

NAME = "_vjaccel.lock"
"""Beside the folders of a dataset: Lance neither reads nor removes it."""


class WriterLock:
    """Held by who writes. The system lets go of it when a process ends, however it ends.

    Parameters
    ----------
    folder : Path or None
        Of the collection; None for one that other machines write to as well, where Lance's commits decide.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / NAME
        self._thread = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Waits for its turn."""
        with self._thread:
            if self._path is None:
                yield
                return
            import fcntl

            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            finally:
                os.close(file)
