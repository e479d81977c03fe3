"""Filters, SQL text over the metadata: asked of Lance, for a collection in memory too; and what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np

from vjaccel.collection.arrow import array_of, field_of, lance
from vjaccel.collection.metadata import Columns
from vjaccel.errors import InvalidInput, InvalidType

__all__ = ["FilterTable", "check_filter", "enclosed", "refusing"]

PREFIX = "SELECT 1 FROM t WHERE ("
"""What the parser counts columns from: its own words before the text, and our bracket."""

NAMED = (
    (r"No field named \"?([^\s\".]+)", r"(?<!\w){}(?!\w)"),
    (r"Invalid function '([^']+)'", r"(?<!\w){}(?!\w)"),
    (r"literal Utf8\(\"(.*?)\"\) and could not", "'{}'"),
    (r"literal \w+\((.*?)\) and could not", r"(?<!\w){}(?!\w)"),
)
"""Messages that name what is wrong, and how that stands in the text."""

PARTS = r"'(?:[^']|'')*(?:'|\Z)|\"[^\"]*(?:\"|\Z)|`[^`]*(?:`|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)|[()]"
"""Texts, names in quotes and remarks, and the brackets that are in none of them."""

VECTOR = rf"{PARTS}|\bvector\b"

TABLES = count()


class FilterTable:
    """The ids and the metadata of a collection in memory, as Lance reads them."""

    def __init__(self, ids: list[str], metadata: dict[str, dict[str, Any]], columns: Columns) -> None:
        module = lance("a filter (where=)")
        import pyarrow as pa

        rows = [metadata.get(name, {}) for name in ids]
        fields = [pa.field("id", pa.string()), *(field_of(key, column) for key, column in columns.items())]
        arrays = [pa.array(ids, pa.string()), *(array_of(key, c, rows, len(rows)) for key, c in columns.items())]
        table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
        self._columns = columns
        self._dataset = module.write_dataset(table, f"memory://vjaccel-{next(TABLES)}", enable_stable_row_ids=True)

    def positions(self, where: str) -> np.ndarray:
        """The places of the rows for which `where` holds, ascending.

        Raises
        ------
        InvalidInput, InvalidType
        """
        asked = enclosed(where)
        with refusing(where, self._dataset, self._columns):
            found = self._dataset.to_table(columns=[], filter=asked, with_row_id=True)
        return np.sort(found.column("_rowid").to_numpy().astype(np.int64))


def check_filter(where: object) -> None:
    """Refuse what is no text.

    Raises
    ------
    InvalidInput, InvalidType
    """
    if where is not None and not isinstance(where, str):
        raise InvalidType(f'where is SQL text, as in "year > 2001", not {type(where).__name__}')
    if where is not None and not where.strip():
        raise InvalidInput("where is empty; leave it out for all rows")
    # On disk it is a column; in memory it is in no table that a filter reads.
    for found in re.finditer(VECTOR, where or "", re.DOTALL | re.IGNORECASE):
        if found[0].strip("`").lower() == "vector":
            raise InvalidInput(
                f"the filter {where!r} cannot be used at position {found.start()}: vector is no column of filters, which are "
                "over id and the metadata"
            )


def enclosed(where: str) -> str:
    """`where` in brackets: without them the parser passes over what it does not understand at the end.

    Raises
    ------
    InvalidInput
        A bracket of its own that nothing opened would close ours.
    """
    depth = 0
    for found in re.finditer(PARTS, where, re.DOTALL):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth < 0:
            raise InvalidInput(
                f"the filter {where!r} cannot be used at position {found.start()}: the bracket closes none; take it out"
            )
    return f"({where}\n)"


@contextmanager
def refusing(where: str | None, dataset: Any, columns: Columns) -> Iterator[None]:
    """What Lance says of a filter, as one sentence with the place in the text; where there is none, as Lance says it.

    Raises
    ------
    InvalidInput
    """
    try:
        yield
    except BaseException as exc:
        said = str(exc)
        if where is None:
            raise
        known = ", ".join(["id", *columns])
        if _is_a_panic(exc):
            raise InvalidInput(
                f"the filter {where!r} cannot be used: it has what Lance does not know, as $1, ? or :name are, which stand for "
                f"values; write the values themselves; the columns are {known}"
            ) from exc
        if not isinstance(exc, ValueError | OSError | RuntimeError) or not _is_about_the_filter(said):
            raise
        reason, place = _reason(said), _place(said, where, dataset)
        if place == len(where):
            reason = re.sub(r"found: (\)|EOF)$", "found its end", reason)
        at = "" if place is None else f" at position {place}"
        raise InvalidInput(f"the filter {where!r} cannot be used{at}: {reason}; the columns are {known}") from exc


def _is_a_panic(exc: BaseException) -> bool:
    """Whether Lance's parser has given up, which is no Exception of Python's, or in a thread of its own."""
    return type(exc).__name__ == "PanicException" or (isinstance(exc, RuntimeError) and "Task was aborted" in str(exc))


def _is_about_the_filter(said: str) -> bool:
    signs = ("Invalid user input", "Query Execution error", "sql parser", "Schema error", "filter", "not supported")
    return "LanceError(IO)" not in said and any(sign in said for sign in signs)


def _reason(said: str) -> str:
    # Without the places in Lance's sources, and without its wrapping of one message into another.
    said = re.sub(r", (/\S+\.rs|rust/\S+\.rs|\S+\.rs):\d+:\d+", "", said).replace("\n", " ").strip()
    inner = re.search(r"\(sql parser error: (.*)\)$", said) or re.search(r".*\((.+) at Line: \d+, Column: \d+\)$", said)
    if inner is not None:
        said = re.sub(r" at Line: \d+, Column: \d+$", "", inner[1])
    said = re.sub(r"^(.*?Invalid user input: )+", "", said)
    said = re.sub(r"^(Schema error|Error parsing function: Error during planning|External error): ", "", said)
    # Its list has columns of its own.
    return re.sub(r"\. Valid fields are .*", "", said).rstrip(".")


def _place(said: str, where: str, dataset: Any) -> int | None:
    """Where in `where` the fault is, counted from 0; None where nothing tells."""
    exact = re.search(r"at Line: (\d+), Column: (\d+)", said)
    if exact is not None:
        line, column = int(exact[1]), int(exact[2]) - 1
        lines = where.split("\n")
        before = sum(len(text) + 1 for text in lines[: line - 1])
        return min(before + (column - len(PREFIX) if line == 1 else column), len(where))
    word = re.search(r"sql parser error: .*found: (.+?)\)(?:,|$)", said)
    if word is not None:
        return _place_of_word(word[1].strip(), where, dataset)
    # Of as many characters, without what is text or a remark.
    bare = re.sub(PARTS, lambda part: part[0] if part[0][0] in "`()" else " " * len(part[0]), where, flags=re.DOTALL)
    for pattern, written in NAMED:
        named = re.search(pattern, said)
        text = where if written[0] == "'" else bare
        found = named and re.search(written.format(re.escape(named[1])), text, re.IGNORECASE)
        if found:
            return found.start()
    return None


def _place_of_word(word: str, where: str, dataset: Any) -> int:
    """The first of its occurrences at which the text, cut off behind it, has the same fault."""
    if word == "EOF":
        return len(where)
    for found in re.finditer(re.escape(word), where):
        try:
            dataset.scanner(filter=f"({where[: found.end()]}", columns=["id"]).explain_plan()
        except (ValueError, OSError) as exc:
            if f"found: {word})" in str(exc):
                return found.start()
    return len(where)
