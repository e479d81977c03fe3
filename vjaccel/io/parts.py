"""An output that is a folder of files, each with so many rows, in the order of their names."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.errors import OutputError
from vjaccel.io.inputs import Rows
from vjaccel.io.outputs import Output, open_output
from vjaccel.io.whole import writing

__all__ = ["Parts", "check_parts", "open_parts"]

PART = re.compile(r"part-[0-9]{5,}\.[a-z]+")


def check_parts(path: Path) -> None:
    """Refuse, before anything is computed, what such a folder cannot be put in the place of.

    Raises
    ------
    OutputError
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"cannot write {path}: it is a file, and --shards makes a folder")
    if path.is_dir() and (other := next((x.name for x in path.iterdir() if not PART.fullmatch(x.name)), None)):
        raise OutputError(f"cannot write {path}: it is a folder with {other} in it, which no run has written")


@contextmanager
def open_parts(
    path: Path, schema: Any, dim: int, rows: int, made_by: dict[str, Any], dtype: str, part_rows: int
) -> Iterator[Parts]:
    """A folder of outputs of `part_rows` rows, which appears as `path` when the block ends without an error.

    Raises
    ------
    OutputError
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with writing(path):
        partial.mkdir()
    try:
        with ExitStack() as held:
            made = Parts(partial, path.suffix, schema, dim, rows, made_by, dtype, part_rows)
            held.push(made.end)
            yield made
        check_parts(path)
        before = path.with_name(f".{path.name}.{os.getpid()}.before.partial")
        with writing(path):
            if path.is_dir():
                path.rename(before)
            partial.rename(path)
        shutil.rmtree(before, ignore_errors=True)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


class Parts:
    """Files that rows are written to, one after another."""

    def __init__(
        self, folder: Path, suffix: str, schema: Any, dim: int, rows: int, made_by: dict[str, Any], dtype: str,
        part_rows: int,
    ) -> None:  # fmt: skip
        self._folder, self._suffix, self._rows, self._part_rows = folder, suffix, rows, part_rows
        self._asked = schema, dim, made_by, dtype
        self._written = 0
        self._held = ExitStack()
        self._part: Output | None = None
        if not rows:
            self._next()

    def write(self, rows: Rows, embeddings: np.ndarray, ok: np.ndarray) -> None:
        """As `Output.write`."""
        start = 0
        while start < len(rows):
            room = self._part_rows - self._written % self._part_rows
            if room == self._part_rows:
                self._next()
            assert self._part is not None
            some = slice(start, min(start + room, len(rows)))
            columns = rows.columns.slice(some.start, some.stop - some.start)
            self._part.write(
                Rows(rows.texts[some], rows.ids[some], columns, rows.read[some]), embeddings[some], ok[some]
            )
            self._written += some.stop - some.start
            start = some.stop

    def end(self, *raised: Any) -> bool | None:
        """End the last file, by an exception or without."""
        return self._held.__exit__(*raised)

    def _next(self) -> None:
        self._held.close()
        schema, dim, made_by, dtype = self._asked
        path = self._folder / f"part-{self._written // self._part_rows:05}{self._suffix}"
        count = min(self._part_rows, self._rows - self._written)
        self._part = self._held.enter_context(open_output(path, schema, dim, count, made_by, dtype))
