"""Keeping what a run does, on disk: so that a run that was stopped or killed goes on and pays for nothing twice.

What is in its folder, and how that is read, is in `kept`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import shutil
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.closing import Closing
from vjaccel.embedding.journal_folder import DESCRIPTION, LAST_PART, LINES, RECORDING, VECTORS, Kept, changed, json_in
from vjaccel.errors import OutputError
from vjaccel.telemetry import Recording

__all__ = ["Journal", "check_free", "remove_rest"]

LOOK_SECONDS = 0.1
"""After which it is looked again whether another has let go of a journal."""

logger = logging.getLogger("vjaccel.embedding")


class Journal(Kept, Closing):
    """The state of one run, in a folder of its own.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    description : dict
        All that determines the run's result, as JSON has it. That of a journal that is there must be the same.
    rows : int
    anew : bool
        Forget what is there.
    goes_on : str
        What a run goes on by when it could not write, as people are told.
    patience : float
        Seconds to wait for a process that has it and is ending.

    Raises
    ------
    OutputError
        The journal is another run's, or one of a run that goes on now; or it cannot be written.
    """

    def __init__(
        self, folder: Path, description: dict[str, Any], rows: int, *, anew: bool = False,
        goes_on: str = "the same command", patience: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(rows)
        self._folder = folder
        self._goes_on = goes_on
        self._lock = threading.Lock()
        try:
            folder.mkdir(exist_ok=True)
            self._lines = (folder / LINES).open("a+b")
        except OSError as exc:
            raise OutputError(f"cannot write {folder}: {exc.strerror or exc}") from exc
        try:
            self._locked(patience)
            if anew:
                with self._writing():
                    (folder / DESCRIPTION).unlink(missing_ok=True)
                    (folder / RECORDING).unlink(missing_ok=True)
            self._described(description, anew=anew)
            with self._writing():
                self._vectors = os.open(folder / VECTORS, os.O_RDWR | os.O_CREAT, 0o644)
        except BaseException:
            self._lines.close()
            raise
        self._lines.seek(0)
        end = self._read(self._lines, self._vectors)
        self._say_damage(self._lines.seek(0, os.SEEK_END) - end)
        self._lines.truncate(end)
        self._lines.seek(end)

    # Writing

    def append(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Keep the vectors, float32 (n, dim), of some rows, int64 (n,). Several threads may call it.

        Raises
        ------
        OutputError
            It cannot be written, or the vectors before had another width.
        """
        order = np.argsort(rows)
        rows, vectors = rows[order], np.ascontiguousarray(vectors[order], "<f4")
        with self._lock, self._writing():
            if self.dim is None:
                self.dim = vectors.shape[1]
                self._line({"dim": self.dim})
            elif vectors.shape[1] != self.dim:
                raise OutputError(
                    f"the vectors in {self._folder} have width {self.dim}, and now {vectors.shape[1]}: the model has "
                    "changed, and --restart would begin anew"
                )
            size = self.dim * 4
            # Neighbours in one write: a run's batches are rows of like length, and most of a chunk is done by the end.
            for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
                _written(self._vectors, vectors[part[0] : part[-1] + 1].data.cast("B"), int(rows[part[0]]) * size)
            self._line({"rows": rows.tolist(), "crc32": zlib.crc32(vectors.data.cast("B"))})
            self.done[rows] = True

    def fail(self, errors: Iterable[tuple[int, str, str]]) -> None:
        """Note rows that have failed: each its row, its error's code and message.

        Raises
        ------
        OutputError
        """
        found = {row: (code, message) for row, code, message in errors}
        if found:
            with self._lock, self._writing():
                self._line({"failed": [[row, *why] for row, why in found.items()]})
                self._note(found)

    def took_up(self, copies: int) -> None:
        """Note that it has the rows of an output, so many of them with the text of an earlier one.

        Raises
        ------
        OutputError
        """
        with self._lock, self._writing():
            self._line({"copies": copies})
            self.copies = copies

    def record(self, recording: Recording, last_part: str | None = None) -> None:
        """Keep what the run was like until now, instead of what was kept of that before.

        Parameters
        ----------
        last_part : str, optional
            The name of the part of the run that it has been the last to take in, where that is still there to be removed.

        Raises
        ------
        OutputError
        """
        part = self._folder / f"{RECORDING}.part"
        with self._writing():
            part.write_text(json.dumps(recording.to_dict() | {LAST_PART: last_part}), encoding="utf-8")
            part.replace(self._folder / RECORDING)

    def forget_failures(self) -> None:
        """Have the failed rows tried again.

        Raises
        ------
        OutputError
        """
        with self._lock, self._writing():
            self._line({"again": True})
            self._forget()

    # Reading

    def vectors(self, rows: np.ndarray, dim: int) -> np.ndarray:
        """The vectors of some rows, float32 (n, dim); NaN where a row has none. `dim` is the width, if any has one."""
        found = np.full((len(rows), dim), np.nan, np.float32)
        there = np.flatnonzero(self.done[rows])
        if len(there):
            length = os.fstat(self._vectors).st_size // (dim * 4) * dim * 4
            with mmap.mmap(self._vectors, length, prot=mmap.PROT_READ) as stored:
                found[there] = np.frombuffer(stored, "<f4").reshape(-1, dim)[rows[there]]
        return found

    # Holding and letting go

    def close(self) -> None:
        """Write out what the system still holds, and let go of the files."""
        if not self._lines.closed:
            try:
                with self._writing():
                    os.fsync(self._vectors)
                    os.fsync(self._lines.fileno())
            finally:
                os.close(self._vectors)
                self._lines.close()

    def remove(self) -> None:
        """Close it, and remove its folder."""
        # Under another name first: half a journal would be taken for a run's.
        remove_rest(self._folder)
        with suppress(OSError):
            self._folder.rename(_removed(self._folder))
        self.close()
        remove_rest(self._folder)

    # Below

    def _locked(self, patience: float) -> None:
        # One who only looks whether it is free holds it for a moment.
        deadline = time.monotonic() + max(patience, LOOK_SECONDS)
        while True:
            try:
                fcntl.flock(self._lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as exc:
                if time.monotonic() >= deadline:
                    raise _in_use(self._folder) from exc
            time.sleep(LOOK_SECONDS)

    def _described(self, description: dict[str, Any], *, anew: bool) -> None:
        path = self._folder / DESCRIPTION
        wanted = json.loads(json.dumps(description))
        if path.exists() and (before := json_in(path)) is not None:
            differences = changed(before, wanted)
            if differences:
                raise OutputError(
                    f"{self._folder} is the journal of another run: {'; '.join(differences)}. --restart would begin anew"
                )
            return
        with self._writing():
            # Without its description nothing in the folder can be trusted.
            if not anew and self._lines.seek(0, os.SEEK_END):
                logger.warning("%s has no %s that can be read: all rows begin anew", self._folder, DESCRIPTION)
            self._lines.truncate(0)
            self._line({"anew": anew, "of": len(self.done)})
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(wanted), encoding="utf-8")
            partial.replace(path)

    def _say_damage(self, unread: int) -> None:
        """Say what is lost of what was kept; whatever a kill can tear off is at most a line."""
        if self.torn:
            logger.warning("%s: the vectors of %d rows are damaged, and are made anew", self._folder, self.torn)
        if unread:
            logger.warning("%s: the last %d bytes of %s cannot be read; what they had is done again",
                           self._folder, unread, LINES)  # fmt: skip
        if self.dim is None and os.fstat(self._vectors).st_size:
            logger.warning("%s has vectors, and no lines that say of which rows: all are made anew", self._folder)

    def _line(self, record: dict[str, Any]) -> None:
        self._lines.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self._lines.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """An OSError inside it is the error of writing the journal."""
        try:
            yield
        except OutputError:
            raise
        except OSError as exc:
            kept = f"what is done is kept, and {self._goes_on} goes on"
            raise OutputError(f"cannot write {self._folder}: {exc.strerror or exc}; {kept}") from exc


def check_free(folder: Path) -> None:
    """Refuse a journal that another run writes; whoever makes one finds that out too, but has by then loaded a model.

    Raises
    ------
    OutputError
    """
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError), (folder / LINES).open("rb") as lines:
        try:
            fcntl.flock(lines, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise _in_use(folder) from exc
        except OSError as exc:
            raise OutputError(f"cannot lock {lines.name}: {exc.strerror or exc}") from exc


def _in_use(folder: Path) -> OutputError:
    return OutputError(f"another run is writing {folder}: wait for it, or stop it")


def remove_rest(folder: Path) -> None:
    """Remove what is left of the journal in `folder` where whoever removed it was killed."""
    shutil.rmtree(_removed(folder), ignore_errors=True)


def _removed(folder: Path) -> Path:
    """Its name when it is no journal any more."""
    return folder.with_name(f".{folder.name}.removed")


def _written(file: int, content: memoryview, place: int) -> None:
    while content:
        count = os.pwrite(file, content, place)
        content, place = content[count:], place + count
