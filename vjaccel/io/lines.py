"""Rows from files of lines: txt, jsonl and csv, read in constant memory, each bad line with its number and the reason."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from typing import Any

from vjaccel.io.input_files import InputFile

__all__ = [
    "LINE_FORMATS",
    "BadLine",
    "BadLines",
    "Header",
    "Lines",
    "groups",
    "looks_like_json",
    "read_csv",
    "read_jsonl",
    "read_txt",
    "sniffed",
]

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no row.

    Attributes
    ----------
    number : int
        Counted from 1.
    reason : str
    fatal : bool
        Whether nothing that follows can be read either.
    """

    number: int
    reason: str
    fatal: bool = False


class Header(tuple[str, ...]):
    """The names of a file's columns, before its rows."""


@dataclass
class BadLines:
    """What was no row among those that `apart` gave."""

    first: BadLine | None = None
    fatal: BadLine | None = None
    header: Header = field(default_factory=Header)
    count: int = 0

    def apart(self, rows: Iterable[Row | BadLine | Header]) -> Iterator[Row]:
        """The rows; what is none is counted, and a header kept."""
        for row in rows:
            if isinstance(row, BadLine):
                self.first = self.first or row
                self.fatal = self.fatal or (row if row.fatal else None)
                self.count += 1
            elif isinstance(row, Header):
                self.header = row
            else:
                yield row


class Lines:
    """The lines of a file, and where the next one begins, in bytes.

    Parameters
    ----------
    file : LocalFile or StoredObject
    start : int
        Where the first begins; before it come those of `head`, the bytes of a header.
    """

    def __init__(self, file: InputFile, start: int = 0, head: bytes = b"") -> None:
        self._file = file
        self._head = head
        self.position = start

    def __iter__(self) -> Iterator[bytes]:
        with self._file.unpacked() as lines:
            lines.seek(self.position)
            yield from BytesIO(self._head)
            for line in lines:
                self.position += len(line)
                yield line


def groups(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Rows, `size` at a time; no more are read than are given out."""
    rows = iter(rows)
    while group := list(islice(rows, size)):
        yield group


def sniffed(file: InputFile) -> str:
    """``jsonl`` where the first byte that is no white space opens a JSON object, else ``txt``."""
    with file.open() as lines:
        first = next((line for line in lines if line.strip()), b"")
    return "jsonl" if looks_like_json(first) else "txt"


def looks_like_json(line: bytes) -> bool:
    """Whether a line opens a JSON object."""
    return line.strip().removeprefix(b"\xef\xbb\xbf").startswith(b"{")


def read_txt(lines: Iterable[bytes], text_field: str) -> Iterator[Row | BadLine]:
    """A row for each line; an empty line is an empty text, so that row and line numbers agree."""
    for _, line in _decoded(lines):
        yield line if isinstance(line, BadLine) else {text_field: line.rstrip("\r\n")}


def read_jsonl(lines: Iterable[bytes], text_field: str) -> Iterator[Row | BadLine]:
    """A row for each JSON object; lines of white space alone are no rows."""
    for number, line in _decoded(lines):
        if isinstance(line, BadLine):
            yield line
        elif line.strip():
            yield _json_row(number, line)


def read_csv(lines: Iterable[bytes], text_field: str) -> Iterator[Row | BadLine | Header]:
    """The header, and a row for each record, its values text (RFC 4180: a record may span lines)."""
    # A text is as long as it is; the module's own limit of 128 KiB would refuse it.
    csv.field_size_limit(sys.maxsize)
    # Undecodable bytes pass through as lone surrogates, so that a quoted line break inside a bad record stays inside it.
    source = (line.decode("utf-8-sig" if i == 0 else "utf-8", "surrogateescape") for i, line in enumerate(lines))
    records = csv.reader(source, strict=True)
    header: list[str] = []
    while True:
        number = records.line_num + 1
        try:
            record = next(records, None)
        except csv.Error as exc:
            yield BadLine(number, f"it is not csv: {exc}", fatal=not header)
            record = []
        if record is None:
            return
        if header and record:
            yield _csv_row(number, header, record)
        elif record:
            broken = _not_utf8_in(record)
            if broken or len(set(record)) < len(record):
                yield BadLine(number, broken or f"two columns have one name: {', '.join(record)}", fatal=True)
                return
            header = record
            yield Header(record)


LINE_FORMATS: dict[str, Callable[[Iterable[bytes], str], Iterator[Row | BadLine | Header]]] = {
    "txt": read_txt,
    "jsonl": read_jsonl,
    "csv": read_csv,
}


def _decoded(lines: Iterable[bytes]) -> Iterator[tuple[int, str | BadLine]]:
    for number, line in enumerate(lines, 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as exc:
            yield number, BadLine(number, _not_utf8(exc))


def _json_row(number: int, line: str) -> Row | BadLine:
    try:
        row = json.loads(line)
    except ValueError as exc:
        return BadLine(number, f"it is not JSON: {exc}")
    except RecursionError:
        return BadLine(number, "its JSON is nested too deep")
    if not isinstance(row, dict):
        return BadLine(number, f"it is not a JSON object but {type(row).__name__}")
    if "\\ud" in line.lower():
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return BadLine(number, "it has half of a surrogate pair, which is no character")
    return row


def _csv_row(number: int, header: list[str], record: list[str]) -> Row | BadLine:
    if len(record) != len(header):
        return BadLine(number, f"it has {len(record)} values and the header {len(header)}")
    broken = _not_utf8_in(record)
    return BadLine(number, broken) if broken else dict(zip(header, record, strict=True))


def _not_utf8_in(record: list[str]) -> str | None:
    """What is no UTF-8 in a record whose undecodable bytes are lone surrogates."""
    try:
        ",".join(record).encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError as exc:
        return _not_utf8(exc)
    return None


def _not_utf8(exc: UnicodeDecodeError) -> str:
    return f"it is not UTF-8 at byte {exc.start + 1} (0x{exc.object[exc.start]:02x})"
