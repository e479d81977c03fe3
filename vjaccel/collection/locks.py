"""Who does what at a time, among threads and among processes: one writes, and nothing is removed while somebody reads.

Files are locked by the system, which lets go when a process ends, however it ends. They lie in the dataset's folder, where
Lance neither reads nor removes them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["LOCKS", "Locks"]

WRITER, READERS = "_vjaccel.writer", "_vjaccel.readers"
LOCKS = {WRITER, READERS}


class Locks:
    """Those of one collection.

    Parameters
    ----------
    folder : Path or None
        Of the collection; None for one that other machines write to as well, where Lance's commits decide.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._writing = threading.Lock()

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Alone; waits for its turn."""
        with self._writing, self._held(WRITER, fcntl.LOCK_EX):
            yield

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Beside other readers; waits while something is removed."""
        with self._held(READERS, fcntl.LOCK_SH):
            yield

    @contextmanager
    def without_readers(self) -> Iterator[bool]:
        """Whether nobody reads; nobody begins to inside."""
        try:
            with self._held(READERS, fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield self._folder is not None
        except BlockingIOError:
            yield False

    @contextmanager
    def _held(self, name: str, how: int) -> Iterator[None]:
        file = None if self._folder is None else _opened(self._folder / name, needed=name == WRITER)
        if file is None:
            yield
            return
        try:
            fcntl.flock(file, how)
            yield
        finally:
            os.close(file)


def _opened(path: Path, *, needed: bool) -> int | None:
    """A file to lock; None where it is not there and nobody may write, so that none is needed to read."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as exc:
        if needed or exc.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
