"""Output files: the input's rows beside their vectors."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from vjaccel.errors import InvalidInput
from vjaccel.io.arrow import arrow
from vjaccel.io.columns import VECTORS
from vjaccel.io.input_files import is_stored, local_path
from vjaccel.io.inputs import Rows
from vjaccel.io.whole import check_place, whole_file, writing

__all__ = [
    "METADATA",
    "Output",
    "check_output",
    "error_log",
    "error_path",
    "json_line",
    "json_missing",
    "json_record",
    "named_after",
    "open_output",
]

METADATA = b"vjaccel"
"""The key in a parquet schema's metadata under which a file says, in JSON, how its vectors were made."""


def check_output(path: Path, inputs: Iterable[str], *, folder: bool = False) -> None:
    """Refuse, before anything is computed, an output that could not be written, a file or a folder of them.

    Raises
    ------
    InvalidInput
        Its name ends in no format that can be written, or it is one of the inputs.
    OutputError
        Its folder is not there or cannot be written to.
    """
    if path.name in ("", *_WRITERS):
        raise InvalidInput(f"the output {str(path)!r} has no name: say it whole, as in out.parquet")
    if path.suffix.lower() not in _WRITERS:
        raise InvalidInput(f"{path} is none of {', '.join(_WRITERS)}, which can be written")
    written = {os.path.realpath(path), os.path.realpath(error_path(path))}
    for name in inputs:
        if name != "-" and not is_stored(name) and os.path.realpath(local_path(name)) in written:
            raise InvalidInput(f"{name} is one of the inputs, and would be written over or removed")
    check_place(path, folder=folder)


class Output:
    """A file that rows are written to."""

    def __init__(self, path: Path, writer: _Writer) -> None:
        self._path = path
        self._writer = writer

    def write(self, rows: Rows, embeddings: np.ndarray, ok: np.ndarray) -> None:
        """Add rows.

        Parameters
        ----------
        rows : Rows
        embeddings : ndarray, shape (n, dim)
        ok : ndarray of bool, shape (n,)
            Which rows have a vector.

        Raises
        ------
        OutputError
        """
        with writing(self._path):
            self._writer.write(rows, embeddings, ok)


@contextmanager
def open_output(
    path: Path, schema: Any, dim: int, rows: int, made_by: dict[str, Any], dtype: str = "float32"
) -> Iterator[Output]:
    """An output that appears as `path`, in the format of its name, when the block ends without an error.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the columns.
    dim, rows : int
        Of all vectors.
    made_by : dict
        What a parquet file says in its metadata of how its vectors were made.
    dtype : {"float32", "int8", "uint8"}
        Of the vectors' numbers.

    Raises
    ------
    OutputError
    """
    with whole_file(path) as file:
        with writing(path):
            writer = _WRITERS[path.suffix.lower()](file, schema, dim, rows, made_by, np.dtype(dtype))
        try:
            yield Output(path, writer)
        except BaseException:
            with suppress(
                Exception
            ):  # pyarrow's writer, left open, would write into a closed file when it is collected
                writer.end()
            raise
        with writing(path):
            writer.end()


def error_path(output: Path) -> Path:
    """Where the errors of the run that wrote `output` are."""
    return output.with_name(f"{output.name}.errors.jsonl")


def named_after(collection: str) -> Path:
    """What the errors of a run into a collection are beside: its folder; here, where it is elsewhere."""
    return Path(collection.rstrip("/").rpartition("/")[2] if "://" in collection else collection)


@contextmanager
def error_log(output: Path, *, of_stopped: bool = False) -> Iterator[Callable[[Iterable[dict[str, Any]]], None]]:
    """A function that adds records to `error_path(output)`, which is there at the end if any came; one of an earlier run goes.

    Parameters
    ----------
    of_stopped : bool
        Whether what came before an error is left.

    Raises
    ------
    OutputError
    """
    path = error_path(output)
    stopped: BaseException | None = None
    with ExitStack() as held:
        files: list[BinaryIO] = []

        def add(records: Iterable[dict[str, Any]]) -> None:
            for record in records:
                if not files:
                    files.append(held.enter_context(whole_file(path)))
                with writing(path):
                    files[0].write(json.dumps(record, ensure_ascii=False).encode() + b"\n")

        try:
            yield add
        except BaseException as exc:
            if not of_stopped:
                raise
            stopped = exc
    if stopped is not None:
        raise stopped
    if not files:
        path.unlink(missing_ok=True)


def json_line(row: dict[str, Any], vector: list[float] | list[int] | None) -> bytes:
    """A row and its vector as a line of JSON."""
    # Nine digits give a float32 back as it was; Python's own eighteen would double the file.
    numbers = None if vector is None else [x if isinstance(x, int) else float(f"{x:.9g}") for x in vector]
    return json_record({**row, VECTORS: numbers})


def json_missing(line: bytes) -> bool:
    """Whether a line that `json_line` wrote has no vector: known by its end, without reading the whole of it."""
    return line.rstrip().endswith(f'"{VECTORS}": null}}'.encode())


def json_record(row: dict[str, Any]) -> bytes:
    """A row as a line of JSON. Dates, decimals and bytes, which JSON has not, become text; NaN and infinities null."""
    whole = {name: _json_value(value) for name, value in row.items()}
    return json.dumps(whole, ensure_ascii=False, default=str, allow_nan=False).encode() + b"\n"


class _Writer(Protocol):
    def write(self, rows: Rows, embeddings: np.ndarray, ok: np.ndarray) -> None: ...
    def end(self) -> None: ...


class _Parquet:
    def __init__(
        self, file: BinaryIO, schema: Any, dim: int, rows: int, made_by: dict[str, Any], dtype: np.dtype[Any]
    ) -> None:
        pa = arrow()
        self._dim = dim
        self._dtype = dtype
        metadata = {**(schema.metadata or {}), METADATA: json.dumps(made_by).encode()}
        self._schema = schema.append(pa.field(VECTORS, pa.list_(pa.from_numpy_dtype(dtype), dim))).with_metadata(
            metadata
        )
        # A dictionary of vectors, which hardly repeat, is three times as slow to write, and larger than none.
        repeated = [field.name for field in schema if not field.type.num_fields]
        self._writer = pa.parquet.ParquetWriter(file, self._schema, compression="zstd", use_dictionary=repeated)

    def write(self, rows: Rows, embeddings: np.ndarray, ok: np.ndarray) -> None:
        pa = arrow()
        numbers = pa.array(np.ascontiguousarray(embeddings, dtype=self._dtype).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(numbers, self._dim, mask=None if ok.all() else pa.array(~ok))
        arrays = [*rows.columns.columns, vectors]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def end(self) -> None:
        self._writer.close()


class _JsonLines:
    def __init__(
        self, file: BinaryIO, schema: Any, dim: int, rows: int, made_by: dict[str, Any], dtype: np.dtype[Any]
    ) -> None:
        self._file = file

    def write(self, rows: Rows, embeddings: np.ndarray, ok: np.ndarray) -> None:
        for row, vector, good in zip(rows.records(), embeddings.tolist(), ok, strict=True):
            self._file.write(json_line(row, vector if good else None))

    def end(self) -> None:
        pass


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _json_value(inner) for name, inner in value.items()}
    return [_json_value(inner) for inner in value] if isinstance(value, list) else value


class _Npy:
    def __init__(
        self, file: BinaryIO, schema: Any, dim: int, rows: int, made_by: dict[str, Any], dtype: np.dtype[Any]
    ) -> None:
        self._file = file
        self._dtype = dtype.newbyteorder("<")
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (rows, dim)}
        np.lib.format.write_array_header_1_0(file, header)

    def write(self, rows: Rows, embeddings: np.ndarray, ok: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(embeddings, dtype=self._dtype).data)

    def end(self) -> None:
        pass


_WRITERS: dict[str, Callable[[BinaryIO, Any, int, int, dict[str, Any], np.dtype[Any]], _Writer]] = {
    ".parquet": _Parquet,
    ".jsonl": _JsonLines,
    ".npy": _Npy,
}
