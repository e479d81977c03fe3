"""Which texts of a file are the same, in little memory however long it is: an index on disk."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.closing import Closing
from vjaccel.errors import OutputError

__all__ = ["SeenTexts"]


class SeenTexts(Closing):
    """The first row of each text, by a digest of the text.

    It is derived from the input alone, and made anew by each run: nothing in it need outlive one.

    Parameters
    ----------
    path : Path
        A file to write; one that is there is written over.
    goes_on : str, optional
        What a run goes on by when this could not be written, as people are told.

    Raises
    ------
    OutputError
        It cannot be written, by this or by `first`.
    """

    def __init__(self, path: Path, goes_on: str | None = None) -> None:
        self._path = path
        self._goes_on = goes_on
        with self._writing():
            path.unlink(missing_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None)
            # What it holds is worth nothing after a crash, so nothing need be safe from one.
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, row INTEGER) WITHOUT ROWID")

    def first(self, start: int, texts: Sequence[Any]) -> np.ndarray:
        """For each of `texts`, in the rows from `start` on, the first row that had that text, int64; its own where none had.

        What is no str is like no other.
        """
        digests = [_digest(text) if isinstance(text, str) else None for text in texts]
        new = [(digest, start + i) for i, digest in enumerate(digests) if digest is not None]
        with self._writing():
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", new)
            self._database.execute("COMMIT")
        find = self._database.execute
        return np.array(
            [
                start + i if digest is None else find("SELECT row FROM seen WHERE digest = ?", (digest,)).fetchone()[0]
                for i, digest in enumerate(digests)
            ],
            np.int64,
        )

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as exc:
            kept = "" if self._goes_on is None else f"; what is done is kept, and {self._goes_on} goes on"
            raise OutputError(f"cannot write {self._path}: {exc}{kept}") from exc


def _digest(text: str) -> bytes:
    # Half a surrogate pair is no text that can be embedded, but it must be told from another.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
