"""What a run has done so far, on disk: so that a run that was stopped or killed goes on and pays for nothing twice.

A folder beside the output holds the run's description (`run.json`), the vectors, each at the place of its row (`vectors.f32`),
and a line for each batch (`journal.jsonl`) that is written after the batch's vectors and carries their checksum. A batch counts
as done when its line is whole and its vectors have that checksum: so what a kill or a power failure tears is done again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import re
import shutil
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from vjaccel.closing import Closing
from vjaccel.errors import OutputError
from vjaccel.telemetry import Failures, Recording

__all__ = [
    "DESCRIPTION",
    "RECORDING",
    "Journal",
    "Kept",
    "changed",
    "check_free",
    "described",
    "last_part",
    "recorded",
    "remove_rest",
]

logger = logging.getLogger("vjaccel.embedding")

DESCRIPTION, VECTORS, LINES, RECORDING = "run.json", "vectors.f32", "journal.jsonl", "recording.json"
LAST_PART = "last_part"


class Kept:
    """What a journal has, up to its first line that is not whole.

    Attributes
    ----------
    done : ndarray of bool, shape (rows,)
        Which rows have their vector.
    dim : int or None
        The width of the vectors; None before the first.
    anew : bool
        Whether its run began with nothing, whatever there was: an output that is there is then none of its own.
    torn : int
        Rows whose vectors are not as they were written.
    copies : int or None
        Of the rows of an output that was taken up, those with the text of an earlier one; None where none was.
    """

    def __init__(self, rows: int) -> None:
        self.done = np.zeros(rows, np.bool_)
        self.copies: int | None = None
        self.dim: int | None = None
        self.anew = False
        self.torn = 0
        self._has_failed = np.zeros(rows, np.bool_)
        self._failed: dict[int, tuple[str, str]] = {}

    @classmethod
    def of(cls, folder: Path, rows: int | None = None) -> Self:
        """What is in the folder of a journal, which stays as it is: also where a run is writing it, or it is torn.

        Without `rows` it is of as many as the journal says; of none where it does not say so.
        """
        found = cls(rows or 0)
        with ExitStack() as held, suppress(FileNotFoundError):
            lines = held.enter_context((folder / LINES).open("rb"))
            if rows is None:
                found = cls(int((_record(lines.readline()) or {}).get("of", 0)))
                lines.seek(0)
            vectors = held.enter_context((folder / VECTORS).open("rb"))
            if described(folder) is not None:
                found._read(lines, vectors.fileno())
        return found

    def settled(self, start: int, stop: int) -> np.ndarray:
        """Which of the rows from `start` to `stop` need nothing more: they are done, or have failed."""
        settled: np.ndarray = self.done[start:stop] | self._has_failed[start:stop]
        return settled

    def error(self, row: int) -> tuple[str, str] | None:
        """The code and message of a row that has failed."""
        return self._failed.get(row)

    def errors(self) -> dict[int, tuple[str, str]]:
        """The code and message of each row that has failed."""
        return dict(self._failed)

    def agreed(self, recording: Recording) -> Recording:
        """What a run was like, as far as that is known, with the texts that are settled: those that are settled here."""
        failures = Failures()
        for row, why in self._failed.items():
            failures.add(row, *why)
        return recording.agreeing(int(self.done.sum()) - (self.copies or 0), failures)

    def take_in(self, part: Kept, start: int) -> None:
        """Have what `part` has of the rows from `start` on."""
        own = self.done[start : start + len(part.done)]
        own |= part.done[: len(own)]
        self._note({start + row: why for row, why in part.errors().items() if start + row < len(self.done)})

    def _read(self, lines: BinaryIO, vectors: int) -> int:
        """Take up what the lines say; where the first begins that is not whole."""
        end = 0
        for line in lines:
            record = _record(line)
            if record is None or not self._taken(record, vectors):
                break
            end += len(line)
        return end

    def _taken(self, record: dict[str, Any], vectors: int) -> bool:
        if "dim" in record:
            self.dim = int(record["dim"])
        elif "anew" in record:
            self.anew = bool(record["anew"])
        elif "copies" in record:
            self.copies = int(record["copies"])
        elif "failed" in record:
            self._note({int(row): (code, message) for row, code, message in record["failed"]})
        elif "again" in record:
            self._forget()
        elif "rows" in record:
            rows = np.array(record["rows"], np.int64)
            if self.dim is None or not len(rows) or rows[-1] >= len(self.done):
                return False
            # Only of these rows the vectors are lost where they are torn: what follows has checksums of its own.
            if zlib.crc32(b"".join(_stored(vectors, rows, self.dim * 4))) == record["crc32"]:
                self.done[rows] = True
            else:
                self.torn += len(rows)
        return True

    def _note(self, failed: dict[int, tuple[str, str]]) -> None:
        self._failed |= failed
        self._has_failed[list(failed)] = True

    def _forget(self) -> None:
        self._failed.clear()
        self._has_failed[:] = False


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
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as exc:
                if time.monotonic() >= deadline:
                    raise _in_use(self._folder) from exc
            time.sleep(0.1)

    def _described(self, description: dict[str, Any], *, anew: bool) -> None:
        path = self._folder / DESCRIPTION
        wanted = json.loads(json.dumps(description))
        if path.exists() and (before := _json(path)) is not None:
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


def changed(before: dict[str, Any], now: dict[str, Any], within: str = "") -> list[str]:
    """In what two descriptions differ, each a phrase.

    Examples
    --------
    >>> changed({"id_field": "id", "identity": {"dimensions": 384}}, {"id_field": "id", "identity": {"dimensions": 128}})
    ['identity dimensions was 384, now 128']
    """
    found: list[str] = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _changed_files(old, new) if name == "inputs" else changed(old, new, f"{within}{name} ")
        elif old != new:
            found.append(f"{within}{name} was {_short(old)}, now {_short(new)}")
    return found


def _changed_files(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """The same of files, each by its place and name, with the digest of what is in it."""
    if list(before) != list(now):
        return [f"the inputs were {', '.join(before)}, now {', '.join(now)}"]
    return [f"what is in {name.partition(': ')[2]} has changed" for name in now if before[name] != now[name]]


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


def _in_use(folder: Path) -> OutputError:
    return OutputError(f"another run is writing {folder}: wait for it, or stop it")


def described(folder: Path) -> dict[str, Any] | None:
    """What the run whose journal is in `folder` is; None where there is none, or nothing that says so."""
    try:
        return _json(folder / DESCRIPTION)
    except OSError:
        return None


def recorded(folder: Path) -> Recording | None:
    """What the run whose journal is in `folder` was like when that was last kept; None where nothing that can be read was."""
    try:
        found = _json(folder / RECORDING)
        return None if found is None else Recording.from_dict(found)
    except (OSError, ValueError):
        return None


def last_part(folder: Path) -> str | None:
    """The part of a run that is in what the journal in `folder` has `recorded`, though it may be there still."""
    try:
        found = (_json(folder / RECORDING) or {}).get(LAST_PART)
    except OSError:
        return None
    return found if isinstance(found, str) else None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # Of a digest, which is one long word, its beginning tells it from another.
    most = 16 if re.fullmatch(r'"[0-9a-f]{32,}"', text) else 80
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _record(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _written(file: int, content: memoryview, place: int) -> None:
    while content:
        count = os.pwrite(file, content, place)
        content, place = content[count:], place + count


def _stored(vectors: int, rows: np.ndarray, size: int) -> Iterator[bytes]:
    """The bytes of some rows' vectors, each `size`."""
    for part in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        yield os.pread(vectors, size * len(part), int(part[0]) * size)


def remove_rest(folder: Path) -> None:
    """Remove what is left of the journal in `folder` where whoever removed it was killed."""
    shutil.rmtree(_removed(folder), ignore_errors=True)


def _removed(folder: Path) -> Path:
    """Its name when it is no journal any more."""
    return folder.with_name(f".{folder.name}.removed")
