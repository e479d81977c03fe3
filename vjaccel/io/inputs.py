"""Input files as Arrow batches of one schema.

Every input is read twice: once before the run, to count rows, to settle the columns' types and to find what is wrong with
a file while nothing has been computed yet, and once during it. Neither holds more than a batch.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from vjaccel.closing import Closing
from vjaccel.errors import FileFormatError
from vjaccel.io.arrow import arrow
from vjaccel.io.columns import VECTORS, Columns
from vjaccel.io.input_files import InputFile, LanceVersion, LocalFile, input_file, is_lance, is_stored
from vjaccel.io.lines import LINE_FORMATS, BadLine, BadLines, Header, Lines, Row, groups, sniffed

__all__ = ["Inputs", "Rows", "line_format"]

SCANNED = 4096
SUFFIXES = {".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
Format = Literal["txt", "jsonl", "csv", "parquet"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of the inputs.

    Attributes
    ----------
    texts : list
        What stands in the text field: str, unless the input has something else there, or nothing.
    ids : list of str
    columns : pyarrow.RecordBatch
        All fields, each of one type.
    read : list of (dict or None)
        Each row as a file of lines has it: with values of its own types, and only the fields that it has.
    """

    texts: list[Any]
    ids: list[str]
    columns: Any
    read: list[Row | None]

    def records(self) -> list[Row]:
        """Each row as its input has it."""
        if None not in self.read:
            return [row for row in self.read if row is not None]
        return [found if row is None else row for row, found in zip(self.read, self.columns.to_pylist(), strict=True)]

    def __len__(self) -> int:
        return len(self.texts)


class _Mark(NamedTuple):
    """Where the row of a number begins, in bytes."""

    row: int
    position: int


@dataclass(slots=True)
class _Source:
    """A file, and what the first reading has found: its rows, their columns, and where some of them begin."""

    file: InputFile | LanceVersion
    name: str
    format: str
    state: tuple[Any, ...]
    rows: int = 0
    columns: Columns = field(default_factory=Columns)
    head: bytes = b""
    marks: list[_Mark] = field(default_factory=list)

    @property
    def bytes(self) -> InputFile:
        """Of all but a Lance dataset."""
        assert not isinstance(self.file, LanceVersion)
        return self.file

    def changed(self) -> bool:
        """Whether the file is another than it was before the first reading."""
        return self.file.state() != self.state

    def lines_before(self, row: int) -> tuple[Lines, int]:
        """Lines from a place in the file on, and how many rows they have before the row of that number."""
        place = bisect_right(self.marks, row, key=lambda mark: mark.row) - 1
        if place < 0:
            return Lines(self.bytes), row
        mark = self.marks[place]
        # Of what is no first line a byte order mark is a part.
        head = self.head or b"\n"
        return Lines(self.bytes, mark.position, head), row - mark.row + (self.format == "txt")


class Inputs(Closing):
    """The rows of one or more files, one after another.

    Parameters
    ----------
    paths : sequence of str
        ``.txt``, ``.jsonl``, ``.csv`` (each also with ``.gz``) or ``.parquet``, on a disk or in an object store, as
        ``s3://bucket/notes.jsonl``; a Lance dataset, ``notes.lance`` or ``lance:notes``; ``-`` is standard input.
    text_field : str
    id_field : str, optional
        By default ``id``, and where no input has it, a column ``id`` of row numbers is added.
    input_format : {"txt", "jsonl", "csv", "parquet"}, optional
        By default by each file's name; standard input is jsonl if it begins with ``{``, else txt.
    skip_bad_lines : bool
        Pass over lines that are no rows, and count them.
    seen : callable, optional
        Called during the first reading with how many rows were read.

    Attributes
    ----------
    rows, bad_lines : int
    skip_bad_lines : bool
    schema : pyarrow.Schema

    Raises
    ------
    FileFormatError
        A file that is not what its name says, a line that is no row (its number is named), a field that is not there (those
        that are there are named), columns of two files that do not fit.
    OSError
        A file that cannot be read.
    MissingExtra
        pyarrow is not installed.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        text_field: str = "text",
        id_field: str | None = None,
        input_format: Format | None = None,
        skip_bad_lines: bool = False,
        seen: Callable[[int], object] | None = None,
    ) -> None:
        arrow()
        self.text_field = text_field
        self.id_field = id_field or "id"
        self.bad_lines = 0
        self.skip_bad_lines = skip_bad_lines
        self._spooled: list[Path] = []
        self._digests: dict[str, str] | None = None
        self.rows = 0
        try:
            self._sources = [self._source(path, input_format) for path in paths]
            schemas = [self._scanned(source, seen) for source in self._sources]
            self.schema = self._unified(schemas, id_given=id_field is not None)
        except BaseException:
            self.close()
            raise

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[Rows]:
        """The rows from `start` to `stop`, by default all, `size` at a time; the last batch may be smaller.

        Raises
        ------
        FileFormatError
            A file has changed since the first reading.
        """
        pa = arrow()
        first, waiting, read = start, [], []
        for more, batch in self._pieces(size, start, self.rows if stop is None else min(stop, self.rows)):
            read += more
            waiting.append(batch)
            while len(read) >= size:
                table = pa.Table.from_batches(waiting).combine_chunks()
                yield self._rows(read[:size], table.slice(0, size), first)
                first, read, waiting = first + size, read[size:], table.slice(size).to_batches()
        if read:
            yield self._rows(read, pa.Table.from_batches(waiting), first)
        changed = next((source for source in self._sources if source.changed()), None)
        if changed is not None:
            raise FileFormatError(f"{changed.name} has changed while it was read: begin the run anew")

    def digests(self) -> dict[str, str]:
        """The SHA-256 of what is in each input, by its place, name and format, all of which the rows depend on."""
        if self._digests is None:
            self._digests = {
                f"{place}: {source.name} as {source.format}": source.file.digest()
                for place, source in enumerate(self._sources, 1)
            }
        return self._digests

    @property
    def numbered(self) -> bool:
        """Whether no input has ids, so that rows have their numbers instead."""
        return self._numbered

    @property
    def from_stdin(self) -> bool:
        """Whether standard input is among them, which cannot be read again."""
        return bool(self._spooled)

    def close(self) -> None:
        """Remove what standard input was kept in."""
        for path in self._spooled:
            path.unlink(missing_ok=True)

    def check_here(self) -> None:
        """Take the files to be those that are on this machine: another one read them first, and has sent this.

        Raises
        ------
        FileFormatError
            One is not here, cannot be read, or is another.
        """
        for source in self._sources:
            try:
                if isinstance(source.file, LocalFile):
                    source.file.open().close()  # a state is told of what may not be read, too
                state = source.file.state()
            except OSError as exc:
                raise FileFormatError(f"{source.file} cannot be read: {exc.strerror or _first_line(exc)}") from exc
            if not source.file.same(state, source.state):
                raise FileFormatError(
                    f"{source.file} is another file: it has {state[0]:,} bytes, not {source.state[0]:,}"
                    if state[0] != source.state[0] else f"{source.file} is another object than it was"
                )  # fmt: skip
            source.state = state

    # The first reading

    def _source(self, path: str, asked: str | None) -> _Source:
        if path == "-":
            spooled = LocalFile(self._spool())
            return _Source(spooled, "standard input", asked or sniffed(spooled), spooled.state())
        if is_lance(path) and asked is None:
            version = LanceVersion.latest(path)
            return _Source(version, path, "lance", version.state())
        found = input_file(path)
        if found.is_folder:
            raise FileFormatError(f"{path} is a folder; name its files")
        kind = asked or line_format(path)
        if kind is None:
            raise FileFormatError(f"{path} is none of {', '.join(SUFFIXES)} (or .gz of the lines): say --input-format")
        state = found.state()
        return _Source(found.lasting(), path, kind, state)

    def _spool(self) -> Path:
        """Standard input in a file: it can be read once, and what is wrong with it must be known before the run."""
        with tempfile.NamedTemporaryFile(prefix="vjaccel-", delete=False) as file:
            self._spooled.append(Path(file.name))
            shutil.copyfileobj(sys.stdin.buffer, file)
        return Path(file.name)

    def _scanned(self, source: _Source, seen: Callable[[int], object] | None) -> Any:
        if isinstance(source.file, LanceVersion):
            source.rows = source.file.count()
            self.rows += source.rows
            return self._checked_columns(source, source.file.schema())
        if source.format == "parquet":
            with _reading(source), source.bytes.parquet() as file:
                source.rows = int(file.metadata.num_rows)
                self.rows += source.rows
                return self._checked_columns(source, file.schema_arrow)
        bad, lines = BadLines(), Lines(source.bytes)
        with _reading(source):
            for rows in groups(bad.apart(self._read(source, lines)), SCANNED):
                source.columns.see(rows)
                source.rows += len(rows)
                source.marks.append(_Mark(source.rows, lines.position))
                if bad.fatal or (bad.first and not self.skip_bad_lines):
                    break
                if seen is not None:
                    seen(self.rows + source.rows)
        self.rows += source.rows
        source.columns.name(bad.header)
        first = bad.fatal or (None if self.skip_bad_lines else bad.first)
        if first:
            hint = "" if first.fatal else " (--skip-bad-lines would go on)"
            raise FileFormatError(f"{source.name}, line {first.number}: {first.reason}{hint}")
        self.bad_lines += bad.count
        return source.columns.schema()

    def _read(self, source: _Source, lines: Lines) -> Iterator[Row | BadLine | Header]:
        for row in LINE_FORMATS[source.format](lines, self.text_field):
            if isinstance(row, Header) and not source.head:
                with source.bytes.unpacked() as file:
                    source.head = file.read(lines.position)
            yield row

    def _checked_columns(self, source: _Source, schema: Any) -> Any:
        types = arrow().types
        if self.text_field in schema.names:
            kind = schema.field(self.text_field).type
            value = kind.value_type if types.is_dictionary(kind) else kind
            if not (types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)):
                raise FileFormatError(f"{source.name}: the field {self.text_field!r} is {kind}, not text")
        return schema

    def _unified(self, schemas: list[Any], *, id_given: bool) -> Any:
        pa = arrow()
        try:
            schema = pa.unify_schemas(schemas, promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid) as exc:
            raise FileFormatError(f"the columns of the inputs do not fit: {_first_line(exc)}") from exc
        names = schema.names
        if not names:  # not a row anywhere
            schema = pa.schema([(self.text_field, pa.string())])
        for wanted in (self.text_field, self.id_field) if id_given else (self.text_field,):
            if names and wanted not in names:
                raise FileFormatError(f"there is no field {wanted!r}; the input has {', '.join(map(repr, names))}")
        if VECTORS in names:
            raise FileFormatError(f"the input has a field {VECTORS!r}, where the vectors are to be put: rename it")
        self._numbered = self.id_field not in names
        return schema.insert(0, pa.field(self.id_field, pa.string())) if self._numbered else schema

    # The second

    def _pieces(self, size: int, start: int, stop: int) -> Iterator[tuple[list[Row | None], Any]]:
        """Rows as a file of lines has them, and their columns, in pieces of at most `size` rows."""
        first = 0
        for source in self._sources:
            low, high = max(start - first, 0), min(stop - first, source.rows)
            first += source.rows
            if low >= high:
                continue
            with _reading(source):
                if source.format in ("parquet", "lance"):
                    for batch in _batches(source, size, low, high):
                        yield [None] * batch.num_rows, self._conformed(batch)
                else:
                    lines, before = source.lines_before(low)
                    some = islice(BadLines().apart(self._read(source, lines)), before, before + high - low)
                    for rows in groups(some, size):
                        yield list(rows), self._conformed(source.columns.batch(rows))

    def _conformed(self, batch: Any) -> Any:
        pa = arrow()
        arrays = [
            batch.column(field.name).cast(field.type) if field.name in batch.schema.names
            else pa.nulls(batch.num_rows, field.type)
            for field in self.schema
        ]  # fmt: skip
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _rows(self, read: list[Row | None], table: Any, first: int) -> Rows:
        (batch,) = table.combine_chunks().to_batches()
        numbers = [str(first + i) for i in range(batch.num_rows)]
        place = self.schema.get_field_index(self.id_field)
        if self._numbered:
            batch = batch.set_column(place, self.schema.field(place), arrow().array(numbers))
            read = [None if row is None else {self.id_field: n} | row for n, row in zip(numbers, read, strict=True)]
        ids = [n if i is None else str(i) for i, n in zip(batch.column(place).to_pylist(), numbers, strict=True)]
        column = batch.column(self.text_field).to_pylist()
        texts = [text if row is None else row.get(self.text_field) for row, text in zip(read, column, strict=True)]
        return Rows(texts, ids, batch, read)


def _batches(source: _Source, size: int, start: int, stop: int) -> Iterator[Any]:
    """The rows from `start` to `stop` of a dataset, or of a parquet file, of which row groups before are not read."""
    if isinstance(source.file, LanceVersion):
        yield from source.file.batches(size, start, stop)
        return
    with source.bytes.parquet() as file:
        ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
        wanted = range(int(np.searchsorted(ends, start, "right")), int(np.searchsorted(ends, stop, "left")) + 1)
        place = int(ends[wanted.start - 1]) if wanted.start else 0
        for batch in file.iter_batches(size, row_groups=list(wanted)):
            low, high = max(start - place, 0), min(stop - place, batch.num_rows)
            place += batch.num_rows
            if low < high:
                yield batch.slice(low, high - low)


def line_format(path: str) -> str | None:
    """What a file's name says it is; None where that is nothing known."""
    name = input_file(path).name if is_stored(path) else path
    suffixes = [suffix for suffix in Path(name).suffixes if suffix != ".gz"]
    return SUFFIXES.get(suffixes[-1].lower() if suffixes else "")


@contextmanager
def _reading(source: _Source) -> Iterator[None]:
    """What the libraries raise on a broken file, as an error that names the file."""
    try:
        yield
    except MemoryError:
        raise
    except (arrow().ArrowException, OverflowError, EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise FileFormatError(f"{source.name} cannot be read as {source.format}: {_first_line(exc)}") from exc


def _first_line(exc: BaseException) -> str:
    return str(exc).strip().partition("\n")[0]
