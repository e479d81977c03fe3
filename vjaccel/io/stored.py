"""The vectors of an output that `outputs` wrote, in its rows' order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from vjaccel.errors import FileFormatError
from vjaccel.io.arrow import arrow
from vjaccel.io.columns import VECTORS

__all__ = ["stored_vectors"]

BATCH = 4096


def stored_vectors(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vectors, float32 (n, dim), and which of them are there, bool (n,), some rows at a time; of a folder those of its parts.

    Raises
    ------
    FileFormatError
        It is no such output.
    OSError
    """
    if path.is_dir():
        for part in sorted(path.iterdir()):
            yield from stored_vectors(part)
        return
    try:
        yield from _READERS[path.suffix.lower()](path)
    except (arrow().ArrowException, KeyError, TypeError, ValueError, AttributeError) as exc:
        reason = str(exc).partition("\n")[0]
        raise FileFormatError(f"{path} is no output of `vjaccel embed`: {type(exc).__name__}: {reason}") from exc


def _from_parquet(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with arrow().parquet.ParquetFile(path) as file:
        dim = file.schema_arrow.field(VECTORS).type.list_size
        for batch in file.iter_batches(BATCH, columns=[VECTORS]):
            column = batch.column(0)
            ok = column.is_valid().to_numpy(zero_copy_only=False)
            vectors = np.full((len(ok), dim), np.nan, np.float32)
            vectors[ok] = column.flatten().to_numpy().reshape(-1, dim)
            yield vectors, ok


def _from_json_lines(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    dim = 0
    with path.open("rb") as lines:
        while rows := [json.loads(line)[VECTORS] for line in islice(lines, BATCH)]:
            ok = np.array([row is not None for row in rows])
            dim = dim or next((len(row) for row in rows if row is not None), 0)
            vectors = np.full((len(rows), dim), np.nan, np.float32)
            if ok.any():
                vectors[ok] = np.array([row for row in rows if row is not None], np.float32)
            yield vectors, ok


def _from_npy(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    stored = np.load(path, mmap_mode="r")
    for start in range(0, len(stored), BATCH):
        vectors = np.array(stored[start : start + BATCH])
        yield vectors, ~np.isnan(vectors).all(axis=1)


_READERS = {".parquet": _from_parquet, ".jsonl": _from_json_lines, ".npy": _from_npy}
