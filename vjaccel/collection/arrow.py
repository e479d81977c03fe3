"""Metadata and vectors as Arrow columns and back, and the modules of the extra ``store``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vjaccel.collection.metadata import Column, Columns, Kind
from vjaccel.errors import MissingExtra

__all__ = ["ORDER", "array_of", "columns_of", "field_of", "lance", "metadata_of", "vector_array", "vectors_of"]

ORDER = "_order"
"""The column in which a shard keeps when each row came, counted over all shards."""


def lance(what: str) -> Any:
    """The module lance.

    Raises
    ------
    MissingExtra
        It is not installed; `what` needs it.
    """
    try:
        import lance
    except ImportError as exc:
        raise MissingExtra(what, "store") from exc
    return lance


def field_of(key: str, column: Column) -> Any:
    """The Arrow field of a column."""
    import pyarrow as pa

    kinds = {
        Kind.TEXT: pa.string(), Kind.INT: pa.int64(), Kind.FLOAT: pa.float64(), Kind.BOOL: pa.bool_(),
        Kind.DATETIME: pa.timestamp("us"), Kind.DATETIME_UTC: pa.timestamp("us", "UTC"),
    }  # fmt: skip
    kind = kinds[column.kind]
    return pa.field(key, pa.list_(kind) if column.is_list else kind)


def columns_of(schema: Any) -> Columns:
    """The metadata columns of a dataset."""
    own = ("id", "vector", ORDER)
    return {field.name: _column(field.type) for field in schema if field.name not in own}


def _column(kind: Any) -> Column:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return Column(_column(kind.value_type).kind, is_list=True)
    if pa.types.is_timestamp(kind):
        return Column(Kind.DATETIME if kind.tz is None else Kind.DATETIME_UTC)
    return Column({"string": Kind.TEXT, "int64": Kind.INT, "double": Kind.FLOAT, "bool": Kind.BOOL}[str(kind)])


def array_of(key: str, column: Column, rows: Sequence[dict[str, Any]] | None, length: int) -> Any:
    """The column of `rows`; all absent where there are no rows."""
    import pyarrow as pa

    kind = field_of(key, column).type
    return pa.nulls(length, kind) if rows is None else pa.array([row.get(key) for row in rows], kind)


def metadata_of(table: Any, columns: Columns) -> list[dict[str, Any]]:
    """The metadata of each row of a table, without what is absent."""
    from datetime import UTC

    rows: list[dict[str, Any]] = [{} for _ in range(table.num_rows)]
    for key, column in columns.items():
        values = table.column(key).to_pylist()
        if column.kind is Kind.DATETIME_UTC:
            values = [_in_utc(value, UTC) for value in values]
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                row[key] = value
    return rows


def _in_utc(value: Any, utc: Any) -> Any:
    # pyarrow gives a zone of zoneinfo's; a datetime of Python's own UTC went in.
    if value is None:
        return None
    return [_in_utc(item, utc) for item in value] if isinstance(value, list) else value.astimezone(utc)


def vector_array(vectors: np.ndarray) -> Any:
    """Vectors, float32 (n, dim), as Arrow."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def vectors_of(array: Any, dim: int) -> np.ndarray:
    """The vectors of an Arrow array, or of a chunked one."""
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        parts = [vectors_of(chunk, dim) for chunk in array.chunks]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty((0, dim), np.float32), *parts])
    return np.asarray(array.flatten().to_numpy(zero_copy_only=False)).reshape(-1, dim)
