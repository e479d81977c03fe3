"""What a run has kept of what it did, in the folder of its journal: here it is read alone.

A folder beside the output holds the run's description (`run.json`), the vectors, each at the place of its row (`vectors.f32`),
and a line for each batch (`journal.jsonl`) that is written after the batch's vectors and carries their checksum. A batch counts
as done when its line is whole and its vectors have that checksum: so what a kill or a power failure tears is done again.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from vjaccel.telemetry import Failures, Recording

__all__ = [
    "DESCRIPTION",
    "LAST_PART",
    "LINES",
    "RECORDING",
    "VECTORS",
    "Kept",
    "changed",
    "described",
    "json_in",
    "last_part",
    "recorded",
]

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


def described(folder: Path) -> dict[str, Any] | None:
    """What the run whose journal is in `folder` is; None where there is none, or nothing that says so."""
    try:
        return json_in(folder / DESCRIPTION)
    except OSError:
        return None


def recorded(folder: Path) -> Recording | None:
    """What the run whose journal is in `folder` was like when that was last kept; None where nothing that can be read was."""
    try:
        found = json_in(folder / RECORDING)
        return None if found is None else Recording.from_dict(found)
    except (OSError, ValueError):
        return None


def last_part(folder: Path) -> str | None:
    """The part of a run that is in what the journal in `folder` has `recorded`, though it may be there still."""
    try:
        found = (json_in(folder / RECORDING) or {}).get(LAST_PART)
    except OSError:
        return None
    return found if isinstance(found, str) else None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # Of a digest, which is one long word, its beginning tells it from another.
    most = 16 if re.fullmatch(r'"[0-9a-f]{32,}"', text) else 80
    return text if len(text) <= most else f"{text[: most - 3]}..."


def json_in(path: Path) -> dict[str, Any] | None:
    """What is in a file, if that is a JSON object."""
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


def _stored(vectors: int, rows: np.ndarray, size: int) -> Iterator[bytes]:
    """The bytes of some rows' vectors, each `size`."""
    for part in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        yield os.pread(vectors, size * len(part), int(part[0]) * size)
