"""Texts that are to become rows of a collection: what each is called there, and what stands beside its vector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Any

from vjaccel.io import as_metadata

__all__ = ["NamedRow", "Source", "TextRow", "named"]


@dataclass(frozen=True, slots=True)
class TextRow:
    """A text that is to become a row.

    Attributes
    ----------
    id : str or None
        None where the input has none: the row is then known by its text and fields.
    text : object
    fields : dict
        All of the input's, the text among them, the id not.
    """

    id: str | None
    text: Any
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """The texts of a run into a collection.

    Attributes
    ----------
    groups : callable
        The rows as they are read; from the first whenever it is called.
    text_field : str
        The key of the metadata under which the texts stand.
    floats : set of str
        Fields of which some row is known to have a float: the whole numbers of the others are floats too.
    rows : int or None
        How many there are, where that is known.
    """

    groups: Callable[[], Iterable[list[TextRow]]]
    text_field: str
    floats: Set[str] = frozenset()
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row as the collection is to have it, and its number among all."""

    number: int
    id: str
    metadata: dict[str, Any]


def named(number: int, row: TextRow, text_field: str, floats: Set[str]) -> NamedRow:
    """The row with a `number`; those of its whole numbers that are in `floats` are made such."""
    metadata = {key: as_metadata(value) for key, value in row.fields.items() if value is not None}
    # By what stands in the input: what its other rows have makes it no other row.
    name = _made_id(row.text, metadata, text_field) if row.id is None else row.id
    for key in floats & metadata.keys():
        metadata[key] = _as_float(metadata[key])
    return NamedRow(number, name, metadata)


def _as_float(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_float(item) for item in value]
    return float(value) if type(value) is int else value


def _made_id(text: Any, metadata: dict[str, Any], text_field: str) -> str:
    """The id of a row without one: rows that differ in anything are several rows."""
    whole = text if isinstance(text, str) else repr(text)
    if metadata.keys() - {text_field}:
        whole = json.dumps([whole, metadata], ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
