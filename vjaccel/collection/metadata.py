"""Metadata: which values a row may have beside its vector, and of what kind a column's are.

A column gets its kind from the first value that it sees, and keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Column", "Columns", "Kind", "Refused", "check_keys", "copied", "same", "settled"]

INT64 = 1 << 63


class Kind(StrEnum):
    """What the values of a column are."""

    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    DATETIME = "datetime"
    DATETIME_UTC = "datetime with a time zone"


class Column(NamedTuple):
    """The kind of a column's values, or of those in its lists."""

    kind: Kind
    is_list: bool = False

    def __str__(self) -> str:
        return f"list of {self.kind}" if self.is_list else str(self.kind)


Columns = dict[str, Column]


class Refused(Exception):
    """Why a row's metadata cannot be taken."""


def settled(given: object, columns: Columns) -> dict[str, Any]:
    """A row's metadata with plain values, None for what it has not; columns that are new are added to `columns`.

    Raises
    ------
    Refused
        And nothing was added.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise Refused(f"metadata is a dict for each row, not {type(given).__name__}")
    values: dict[str, Any] = {}
    new: Columns = {}
    for key, value in given.items():
        _check_key(key, columns)
        values[key], found = (None, None) if value is None else _value(key, value)
        if found is None:
            if value is not None:  # an empty list takes any kind
                _check_list(key, columns.get(key))
                new[key] = Column(Kind.TEXT, is_list=True)
            continue
        known = columns.get(key)
        if known is not None and known != found:
            values[key] = _as_known(key, values[key], found, known)
        new[key] = found
    for key, column in new.items():
        columns.setdefault(key, column)
    return values


def check_keys(keys: Iterable[str]) -> None:
    """Refuse keys that no metadata can have, or not beside one another.

    Raises
    ------
    Refused
    """
    before: Columns = {}
    for key in keys:
        _check_key(key, before)
        before[key] = Column(Kind.TEXT)


def same(some: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether two rows have the same metadata; what is no number is like itself, as it is not to Python."""
    return some.keys() == others.keys() and all(_alike(value, others[key]) for key, value in some.items())


def _alike(value: Any, other: Any) -> bool:
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_alike, value, other))
    return bool(value == other or (value != value and other != other))


def copied(values: dict[str, Any]) -> dict[str, Any]:
    """Metadata that somebody else may change."""
    return {key: list(value) if isinstance(value, list) else value for key, value in values.items()}


def _check_key(key: object, columns: Columns) -> None:
    if not isinstance(key, str) or not key:
        raise Refused(f"a metadata key is text that is not empty, not {key!r}")
    if key.lower() in ("id", "vector") or key.startswith("_"):
        raise Refused(f"the metadata key {key!r} is taken: id, vector and what begins with _ are the collection's own")
    if any(sign in key for sign in ".`\0") or not _is_utf8(key):
        raise Refused(
            f"the metadata key {key!r} has a dot, a backtick or what is no character, which no filter can name"
        )
    if key not in columns:
        near = next((known for known in columns if known.lower() == key.lower()), None)
        if near is not None:
            raise Refused(f"the metadata key {key!r} is {near!r} but for case, which filters do not tell apart")


def _value(key: str, value: object) -> tuple[Any, Column | None]:
    """A value as Python has it, and the column it needs; None for an empty list."""
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 1 else value
    if isinstance(value, list | tuple):
        items = [_scalar(key, item) for item in value]
        kinds = {kind for _, kind in items}
        if kinds == {Kind.INT, Kind.FLOAT}:
            return [float(item) for item, _ in items], Column(Kind.FLOAT, is_list=True)
        if len(kinds) > 1:
            raise Refused(
                f"the list under {key!r} has values of several kinds ({', '.join(sorted(kinds))}); it needs one"
            )
        plain = [item for item, _ in items]
        return plain, Column(kinds.pop(), is_list=True) if kinds else None
    plain, kind = _scalar(key, value)
    return plain, Column(kind)


def _scalar(key: str, value: object) -> tuple[Any, Kind]:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool):
        return plain, Kind.BOOL
    if isinstance(plain, str):
        if not _is_utf8(plain):
            raise Refused(f"the text under {key!r} has a lone surrogate, which is no character")
        return str(plain), Kind.TEXT
    if isinstance(plain, int):
        if not -INT64 <= plain < INT64:
            raise Refused(f"the number under {key!r} needs more than 64 bits")
        return int(plain), Kind.INT
    if isinstance(plain, float):
        return float(plain), Kind.FLOAT
    if isinstance(plain, datetime):
        if plain.tzinfo is None:
            return plain.replace(fold=0), Kind.DATETIME
        try:
            return plain.astimezone(UTC), Kind.DATETIME_UTC
        except OverflowError:
            raise Refused(f"the time under {key!r} is outside the years 1 to 9999 in UTC") from None
    raise Refused(
        f"the value under {key!r} is {type(value).__name__}; it needs str, int, float, bool, datetime, or a list of one of them"
    )


def _as_known(key: str, value: Any, found: Column, known: Column) -> Any:
    if found.is_list == known.is_list and (found.kind, known.kind) == (Kind.INT, Kind.FLOAT):
        return [float(item) for item in value] if found.is_list else float(value)
    raise Refused(f"the value under {key!r} is {found}, and the column is {known}")


def _check_list(key: str, known: Column | None) -> None:
    if known is not None and not known.is_list:
        raise Refused(f"the value under {key!r} is a list, and the column is {known}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
