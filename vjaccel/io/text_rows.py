"""The rows of an output that `outputs` wrote, with their texts: for whoever wants to see some of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjaccel.errors import FileFormatError
from vjaccel.io.arrow import arrow
from vjaccel.io.columns import VECTORS
from vjaccel.io.outputs import json_missing

__all__ = ["TEXT_ROWS", "TextRows", "text_rows"]

TEXT_ROWS = 4096
"""Rows that are read together; of an npy file exactly, but for its end."""

GROUPS = 256
"""Row groups of a parquet file that are read, evenly chosen: of outputs of ours, a million rows."""


class TextRows(NamedTuple):
    """Some rows; what is in them is read when it is asked for.

    Attributes
    ----------
    ok : ndarray of bool, shape (n,)
        Which rows have a vector.
    row : callable
        From a row's place among these to its id, its text and its vector (dim,).
    """

    ok: np.ndarray
    row: Callable[[int], tuple[Any, Any, np.ndarray]]


def text_rows(path: Path, id_field: str, text_field: str) -> Iterator[TextRows]:
    """The rows of a ``.parquet``, ``.jsonl`` or ``.npy`` output, some at a time; of a large parquet file a part of them.

    An npy file has vectors alone: the ids are the rows' numbers, and the texts None.

    Raises
    ------
    FileFormatError
        It is no such output.
    OSError
    """
    try:
        yield from _READERS[path.suffix.lower()](path, id_field, text_field)
    except (arrow().ArrowException, KeyError, TypeError, ValueError, AttributeError) as exc:
        reason = str(exc).partition("\n")[0]
        raise FileFormatError(f"{path} is no output of `vjaccel embed`: {type(exc).__name__}: {reason}") from exc


def _from_parquet(path: Path, id_field: str, text_field: str) -> Iterator[TextRows]:
    with arrow().parquet.ParquetFile(path) as file:
        count = file.num_row_groups
        groups = np.unique(np.linspace(0, max(count - 1, 0), min(count, GROUPS)).astype(int)).tolist()
        for batch in file.iter_batches(TEXT_ROWS, row_groups=groups, columns=[id_field, text_field, VECTORS]):
            ids, texts, vectors = (batch.column(name) for name in (id_field, text_field, VECTORS))
            yield TextRows(vectors.is_valid().to_numpy(zero_copy_only=False), _arrow_row(ids, texts, vectors))


def _arrow_row(ids: Any, texts: Any, vectors: Any) -> Callable[[int], tuple[Any, Any, np.ndarray]]:
    return lambda i: (ids[i].as_py(), texts[i].as_py(), np.array(vectors[i].as_py()))


def _from_json_lines(path: Path, id_field: str, text_field: str) -> Iterator[TextRows]:
    with path.open("rb") as file:
        while lines := list(islice(file, TEXT_ROWS)):
            yield TextRows(np.array([not json_missing(line) for line in lines]), _json_row(lines, id_field, text_field))


def _json_row(lines: list[bytes], id_field: str, text_field: str) -> Callable[[int], tuple[Any, Any, np.ndarray]]:
    def row(i: int) -> tuple[Any, Any, np.ndarray]:
        found = json.loads(lines[i])
        return found[id_field], found.get(text_field), np.array(found[VECTORS])

    return row


def _from_npy(path: Path, id_field: str, text_field: str) -> Iterator[TextRows]:
    stored = np.load(path, mmap_mode="r")
    for start in range(0, len(stored), TEXT_ROWS):
        vectors = np.array(stored[start : start + TEXT_ROWS])
        yield TextRows(~np.isnan(vectors).all(axis=1), _npy_row(vectors, start))


def _npy_row(vectors: np.ndarray, start: int) -> Callable[[int], tuple[Any, Any, np.ndarray]]:
    return lambda i: (start + i, None, vectors[i])


_READERS = {".parquet": _from_parquet, ".jsonl": _from_json_lines, ".npy": _from_npy}
