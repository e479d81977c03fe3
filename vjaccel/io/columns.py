"""Columns of rows that are read one after another: a type for each that holds all of its values, known before the run.

What Arrow cannot hold in one type (text in one row and a number in another) becomes text, everything but text as JSON: no
value is lost, and no run ends after hours because row 900,000 looks different.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from vjaccel.io.arrow import arrow

__all__ = ["VECTORS", "Columns"]

VECTORS = "embedding"
"""The column that an output adds to those of its input."""

EXACT_IN_FLOAT64 = 1 << 53


class Columns:
    """What `see` has seen, and batches of the types that follow from it."""

    def __init__(self) -> None:
        self._types: dict[str, Any] = {}
        self._mixed: set[str] = set()
        self._large: set[str] = set()

    def see(self, rows: list[dict[str, Any]]) -> None:
        """Take the fields of `rows`, and what types their values have, into account."""
        pa = arrow()
        names = dict.fromkeys(name for row in rows for name in row)
        for name in names:
            values = [row.get(name) for row in rows]
            self._types.setdefault(name, pa.null())
            if name in self._mixed:
                continue
            try:
                found = pa.array(values).type
                if found == pa.int64() and any(abs(x) > EXACT_IN_FLOAT64 for x in values if x is not None):
                    self._large.add(name)
                self._types[name] = self._merged(name, found)
            except (pa.ArrowException, OverflowError):
                self._mixed.add(name)
        self._mixed |= {name for name in names if _has_no_fields(self._types[name])}

    def name(self, names: Iterable[str]) -> None:
        """Take columns into account that may have no value."""
        for name in names:
            self._types.setdefault(name, arrow().null())

    def schema(self) -> Any:
        """The columns seen, a ``pyarrow.Schema``."""
        pa = arrow()
        return pa.schema([(name, pa.string() if name in self._mixed else t) for name, t in self._types.items()])

    def batch(self, rows: list[dict[str, Any]]) -> Any:
        """`rows`, whose fields were seen, as a ``pyarrow.RecordBatch`` of `schema`."""
        pa = arrow()
        arrays = []
        for field in self.schema():
            values: Iterable[Any] = [row.get(field.name) for row in rows]
            if field.name in self._mixed:
                values = [x if x is None or isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in values]
            arrays.append(pa.array(values, type=field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema())

    def _merged(self, name: str, found: Any) -> Any:
        pa = arrow()
        fields = [pa.schema([(name, t)]) for t in (self._types[name], found)]
        merged = pa.unify_schemas(fields, promote_options="permissive").field(name).type
        if name in self._large and merged == pa.float64():
            raise OverflowError  # a float64 would round the integers
        return merged


def _has_no_fields(kind: Any) -> bool:
    """Whether somewhere in it is a record without fields, which parquet cannot store."""
    children = [kind.field(i).type for i in range(kind.num_fields)]
    is_struct = arrow().types.is_struct(kind)
    return (is_struct and not children) or any(_has_no_fields(child) for child in children)
