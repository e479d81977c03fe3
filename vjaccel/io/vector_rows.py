"""Rows that have their vectors already: parquet and jsonl files with a field of them, and npy files beside jsonl files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from itertools import islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjaccel.errors import FileFormatError
from vjaccel.io.arrow import arrow
from vjaccel.io.columns import VECTORS
from vjaccel.io.input_files import LocalFile
from vjaccel.io.lines import BadLine, read_jsonl
from vjaccel.io.outputs import METADATA

__all__ = ["VectorRows", "as_metadata", "made_by", "stated_width", "vector_rows"]


class VectorRows(NamedTuple):
    """Some rows of a file.

    Attributes
    ----------
    ids : list
        What stands in the id field, as text; the row's number where nothing does.
    vectors : ndarray, shape (n, dim), or list
        A list where the file has one: of what stands there, or None.
    metadata : list of dict
        The other fields. What a collection has no kind for (records, lists of them, decimals, bytes) is text, as JSON has it.
    """

    ids: list[Any]
    vectors: Any
    metadata: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.ids)


def vector_rows(path: Path, id_field: str = "id", *, size: int, start: int = 0) -> Iterator[VectorRows]:
    """The rows of a ``.parquet``, ``.jsonl`` or ``.npy`` file, `size` at a time; the last may be fewer.

    The vectors stand in the field ``embedding``; the ids and fields of an npy file in a jsonl file of the same name beside it,
    if there is one. A row without an id is called by its number, which of the first is `start`.

    Raises
    ------
    FileFormatError
        It is no such file, or has no such field; or the files of a pair are not equally long.
    OSError, MissingExtra
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FileFormatError(f"{path} is none of {', '.join(_READERS)}, which have vectors")
    for records, vectors in reader(path, size):
        ids = [str(start + i if row.get(id_field) is None else row[id_field]) for i, row in enumerate(records)]
        metadata = [{k: as_metadata(v) for k, v in row.items() if k not in (id_field, VECTORS)} for row in records]
        yield VectorRows(ids, vectors, metadata)
        start += len(records)


def made_by(path: Path) -> dict[str, Any] | None:
    """How a parquet file's vectors were made, as `outputs` wrote it; None where nothing says so."""
    if path.suffix.lower() != ".parquet":
        return None
    with _opened(path) as file:
        found = (file.schema_arrow.metadata or {}).get(METADATA)
    made: Any = None if found is None else json.loads(found)
    return made if isinstance(made, dict) and "identity" in made else None


def stated_width(path: Path) -> int | None:
    """How wide the vectors of a parquet or npy file are, where it says so, also if it has none; None where rows alone tell."""
    if path.suffix.lower() == ".npy":
        shape = _array(path).shape
        return int(shape[1])
    if path.suffix.lower() != ".parquet":
        return None
    with _opened(path) as file:
        kind = file.schema_arrow.field(VECTORS).type
    return int(kind.list_size) if arrow().types.is_fixed_size_list(kind) else None


Read = Iterator[tuple[list[dict[str, Any]], Any]]


def _from_parquet(path: Path, size: int) -> Read:
    with _opened(path) as file:
        names = file.schema_arrow.names
        if VECTORS not in names:
            raise FileFormatError(f"{path} has no field {VECTORS!r}; it has {', '.join(map(repr, names))}")
        for batch in file.iter_batches(size):
            column = batch.column(VECTORS)
            others = batch.drop_columns([VECTORS])
            rows = others.to_pylist() if others.num_columns else [{} for _ in range(len(column))]
            yield rows, _vectors(column)


def _opened(path: Path) -> Any:
    pa = arrow()
    path.open("rb").close()  # Python's own error names the file
    try:
        return pa.parquet.ParquetFile(path)
    except pa.ArrowException as exc:
        raise FileFormatError(f"{path} cannot be read as parquet: {str(exc).partition(chr(10))[0]}") from exc


def _vectors(column: Any) -> Any:
    """An Arrow column of vectors, as an array where all are there and of one width."""
    types = arrow().types
    if types.is_fixed_size_list(column.type) and not column.null_count:
        return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), column.type.list_size)
    return column.to_pylist()


def _from_json_lines(path: Path, size: int) -> Read:
    found = _json_rows(path)
    while rows := list(islice(found, size)):
        if not any(VECTORS in row for row in rows):
            raise FileFormatError(f"{path} has no field {VECTORS!r}; it has {', '.join(map(repr, rows[0]))}")
        yield rows, [row.get(VECTORS) for row in rows]


def _from_npy(path: Path, size: int) -> Read:
    stored = _array(path)
    beside = path.with_suffix(".jsonl")
    rows: Iterator[dict[str, Any]] = repeat({})
    if beside.exists():
        with LocalFile(beside).unpacked() as lines:  # before a row is given out that is another's
            count = sum(1 for line in lines if line.strip())
        if count != len(stored):
            raise FileFormatError(f"{path} has {len(stored)} rows, and {beside} {count}: they are no pair")
        rows = _json_rows(beside)
    for start in range(0, len(stored), size):
        vectors = np.array(stored[start : start + size])
        yield list(islice(rows, len(vectors))), vectors


def _array(path: Path) -> np.ndarray:
    try:
        stored: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as exc:
        raise FileFormatError(f"{path} cannot be read as npy: {exc}") from exc
    if stored.ndim != 2:
        raise FileFormatError(f"{path} has {stored.ndim} dimensions; vectors have two, (n, dim)")
    return stored


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with LocalFile(path).unpacked() as lines:
        for row in read_jsonl(lines, ""):
            if isinstance(row, BadLine):
                raise FileFormatError(f"{path}, line {row.number}: {row.reason}")
            yield row


def as_metadata(value: Any) -> Any:
    """A value of a kind that a collection takes: itself, or text."""
    if value is None or isinstance(value, str | bool | int | float | datetime):
        return value
    if isinstance(value, list) and all(isinstance(item, str | bool | int | float | datetime) for item in value):
        return value
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str)


_READERS = {".parquet": _from_parquet, ".jsonl": _from_json_lines, ".npy": _from_npy}
