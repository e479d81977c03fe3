"""Vectors, and how they were made, from a parquet file that `outputs` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjaccel.errors import FileFormatError
from vjaccel.io.arrow import arrow
from vjaccel.io.columns import VECTORS
from vjaccel.io.outputs import METADATA

__all__ = ["Found", "VectorFile"]

BATCH = 16384


class Found(NamedTuple):
    """A row's id and text, as text."""

    id: str
    text: str = ""


class VectorFile:
    """A parquet file of rows and their vectors.

    Attributes
    ----------
    rows, dim : int
    made_by : dict
        How the vectors were made, as the writer said.

    Raises
    ------
    FileFormatError
        It is no parquet file, or not one with vectors and how they were made.
    OSError
        It cannot be read.
    MissingExtra
        pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        pa = arrow()
        path.open("rb").close()  # Python's own error names the file; pyarrow's is a line of C++
        try:
            self._file = pa.parquet.ParquetFile(path, memory_map=True)
        except pa.ArrowException as exc:
            reason = str(exc).partition("\n")[0]
            raise FileFormatError(f"{path} cannot be searched, only parquet files can: {reason}") from exc
        schema = self._file.schema_arrow
        try:
            self.made_by: dict[str, Any] = json.loads((schema.metadata or {})[METADATA])
            self.dim = int(schema.field(VECTORS).type.list_size)
            _ = [schema.field(name) for name in self._fields()], self.made_by["identity"]
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            self._file.close()
            raise FileFormatError(
                f"{path} does not say how its vectors were made: is it an output of `vjaccel embed`?"
            ) from exc
        self.rows = int(self._file.metadata.num_rows)

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """All vectors there are, float32 (m, dim), and the row of each, int64 (m,). Rows without one are left out."""
        vectors, ok, start = np.empty((self.rows, self.dim), np.float32), np.empty(self.rows, np.bool_), 0
        for batch in self._file.iter_batches(BATCH, columns=[VECTORS]):
            column = batch.column(0)
            valid = column.is_valid().to_numpy(zero_copy_only=False)
            place = slice(start, start + len(valid))
            ok[place] = valid
            vectors[place][valid] = column.flatten().to_numpy().reshape(-1, self.dim)
            start = place.stop
        rows = np.flatnonzero(ok)
        return (vectors if len(rows) == self.rows else vectors[rows]), rows

    def found(self, rows: np.ndarray) -> list[Found]:
        """Ids and texts of some rows, in their order; only the row groups that hold them are read."""
        names = self._fields()
        starts = np.cumsum([0, *(self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups))])
        groups = np.searchsorted(starts, rows, side="right") - 1
        tables = {int(group): self._file.read_row_group(int(group), columns=names) for group in np.unique(groups)}
        found = []
        for row, group in zip(rows, groups, strict=True):
            values = (tables[int(group)].column(name)[int(row - starts[group])].as_py() for name in names)
            found.append(Found(*("" if value is None else str(value) for value in values)))
        return found

    def _fields(self) -> list[str]:
        """Those of the id and of the text; of a collection of which nobody knows its texts, that of the id alone."""
        return [self.made_by[name] for name in ("id_field", "text_field") if name in self.made_by or name == "id_field"]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
