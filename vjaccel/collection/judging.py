"""Which rows of a change are good, and what is wrong with each of the others: one place for memory and disk.

A call whose rows are all good takes no step of Python for each number, and few for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Literal

import numpy as np

from vjaccel.arrays.dispatch import home_of
from vjaccel.arrays.registry import get_backend
from vjaccel.collection.metadata import Columns, Refused, settled
from vjaccel.collection.store import View
from vjaccel.embedding.result import ItemError
from vjaccel.errors import InvalidInput, InvalidType

__all__ = ["NOT_FINITE", "Existing", "Judged", "judged", "judged_vector", "on_host", "sequence", "unfit"]

Existing = Literal["refused", "needed", "either"]
"""What an id that the collection has is to a change: an error, needed, or neither."""

NUMBERS = "fiub"


@dataclass(slots=True)
class Judged:
    """The rows of a change that are still good.

    Attributes
    ----------
    places : ndarray of int64
        Their places in the call.
    ids : list of str
    vectors : ndarray, float32 (n, dim), or None
        Maybe the caller's own.
    metadata : list of dict or None
        None where no row has any.
    errors : dict of int to ItemError
        Of the others, by place.
    """

    places: np.ndarray
    ids: list[str]
    vectors: np.ndarray | None
    metadata: list[Any] | None
    errors: dict[int, ItemError] = field(default_factory=dict)

    def refuse(self, found: dict[int, tuple[str, str]]) -> None:
        """Take out rows by their number here, for the reasons (code, message) given."""
        if not found:
            return
        for row, (code, message) in found.items():
            place, name = int(self.places[row]), self.ids[row]
            self.errors[place] = ItemError(place, code, message, name if isinstance(name, str) and name else None)
        kept = np.ones(len(self.ids), bool)
        kept[list(found)] = False
        self.places = self.places[kept]
        self.ids = list(compress(self.ids, kept))
        self.vectors = None if self.vectors is None else self.vectors[kept]
        self.metadata = None if self.metadata is None else list(compress(self.metadata, kept))


def judged(
    ids: object,
    vectors: object,
    metadata: object,
    *,
    dim: int,
    columns: Columns,
    view: View,
    existing: Existing,
) -> Judged:
    """The good rows of a change; columns that they bring are added to `columns`.

    Parameters
    ----------
    vectors, metadata
        None where the change has none.
    view : View
        What the collection has.

    Raises
    ------
    InvalidInput, InvalidType
        What was given is no list of rows, or the lists are not equally long.
    """
    names: list[Any] = sequence("ids", ids)
    rows: Any = None if vectors is None else _rows(vectors)
    if rows is not None and len(rows) != len(names):
        raise InvalidInput(f"there are {len(names)} ids and {len(rows)} vectors; they must be as many")
    about = None if metadata is None else sequence("metadata", metadata)
    if about is not None and len(about) != len(names):
        raise InvalidInput(f"there are {len(names)} ids and {len(about)} dicts of metadata; they must be as many")
    result = Judged(np.arange(len(names)), names, None, about)
    if rows is not None:
        found, result.vectors = _vectors(rows, dim)
        nothing = {row: why for row, why in found.items() if why[0] in ("NIL_VECTOR", "EMPTY_EMBEDDING")}
        found = {**found, **_bad_ids(result.ids), **nothing}  # the first of them in this order is said
    else:
        found = _bad_ids(result.ids)
    result.refuse(found)
    result.refuse(_twice(result.ids))
    result.refuse(view.out_of_reach(result.ids, result.metadata))
    result.refuse(_existing(result.ids, view.present, existing))
    if result.metadata is not None:
        result.refuse(_metadata(result.metadata, columns))
    return result


def unfit(ids: Sequence[Any], metadata: Sequence[Any], columns: Columns) -> dict[int, tuple[str, str]]:
    """What is wrong with rows before there is a vector: (code, message) by number; `columns` gets those that are new."""
    bad_ids = _bad_ids(list(ids))
    return {**_metadata([None if row in bad_ids else about for row, about in enumerate(metadata)], columns), **bad_ids}


def sequence(name: str, given: object) -> list[Any]:
    """`given` as a list.

    Raises
    ------
    InvalidType
        It is one text, a dict, or nothing that can be gone through.
    """
    if isinstance(given, str | bytes | dict) or not hasattr(given, "__iter__"):
        raise InvalidType(f"{name} is a list, one for each row, not {type(given).__name__}")
    return given.tolist() if isinstance(given, np.ndarray) else list(given)


def on_host(x: object) -> object:
    """`x`, which is NumPy's where it was an array of a device's library."""
    home = home_of(x)
    return x if home is None else get_backend(f"{home[0].name}:{home[1]}").to_numpy(x)


def _rows(vectors: object) -> np.ndarray | Sequence[Any]:
    given: Any = on_host(vectors)
    if isinstance(given, np.ndarray) and given.ndim:
        return given
    return sequence("vectors", given)


def _vectors(rows: np.ndarray | Sequence[Any], dim: int) -> tuple[dict[int, tuple[str, str]], np.ndarray]:
    """What is wrong with rows, and all of them as float32; where something is, anything."""
    try:
        array = np.asarray(rows)
    except (
        ValueError,
        TypeError,
        RuntimeError,
        OverflowError,
    ):  # rows of several widths, or what does not become numbers
        array = np.empty(0, object)
    if array.ndim == 2 and array.shape[1] == dim and array.dtype.kind in NUMBERS:
        vectors = _as_float32(array)
        # A sum has NaN and infinities of its terms; finite ones that overflow it are found one by one.
        with np.errstate(all="ignore"):
            flat = vectors.reshape(-1)
            if np.isfinite(flat @ flat):
                return {}, vectors
        good = np.isfinite(vectors).all(axis=1)
        return {int(row): NOT_FINITE for row in np.flatnonzero(~good)}, vectors
    found: dict[int, tuple[str, str]] = {}
    vectors = np.zeros((len(rows), dim), np.float32)
    for number, row in enumerate(rows):
        vector, why = judged_vector(row, dim)
        if why is not None:
            found[number] = why
        else:
            vectors[number] = vector
    return found, vectors


NOT_FINITE = ("INVALID_EMBEDDING", "the embedding has NaN, an infinity, or a number beyond float32")


def judged_vector(row: object, dim: int | None) -> tuple[np.ndarray | None, tuple[str, str] | None]:
    """A row's vector, or what is wrong with it: (code, message); with no `dim` any width is right."""
    if row is None:
        return None, ("NIL_VECTOR", "there is no vector")
    try:
        array = np.asarray(on_host(row))
    except (ValueError, TypeError, RuntimeError, OverflowError):
        array = np.empty((), object)
    if array.ndim and not array.size:
        return None, ("EMPTY_EMBEDDING", "the embedding is empty")
    if array.ndim != 1 or array.dtype.kind not in NUMBERS:
        return None, ("INVALID_EMBEDDING", f"the embedding is {_shown(row, array)}, not a list of real numbers")
    vector = _as_float32(array)
    if not np.isfinite(vector).all():
        return None, NOT_FINITE
    if dim is not None and len(vector) != dim:
        return None, ("DIMENSION_MISMATCH", f"the embedding has {len(vector)} numbers, and {dim} are needed")
    return vector, None


def _shown(row: object, array: np.ndarray) -> str:
    return f"of shape {array.shape}" if array.dtype.kind in NUMBERS else type(row).__name__


def _as_float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)


def _bad_ids(ids: list[Any]) -> dict[int, tuple[str, str]]:
    if set(map(type, ids)) <= {str} and "" not in ids and _encodable(ids):
        return {}
    found = {}
    for row, name in enumerate(ids):
        if name is None or (isinstance(name, str) and not name):
            found[row] = ("INVALID_VECTOR_ID", "the id is missing or empty")
        elif not isinstance(name, str):
            found[row] = ("INVALID_VECTOR_ID", f"the id is {type(name).__name__}, not text")
        elif not _encodable([name]):
            found[row] = ("INVALID_VECTOR_ID", "the id has a lone surrogate, which is no character")
        else:
            ids[row] = str(name)
    return found


def _encodable(ids: list[str]) -> bool:
    try:
        "".join(ids).encode()
    except UnicodeEncodeError:
        return False
    return True


def _twice(ids: list[str]) -> dict[int, tuple[str, str]]:
    if len(set(ids)) == len(ids):
        return {}
    seen: set[str] = set()
    found = {}
    for row, name in enumerate(ids):
        if name in seen:
            found[row] = ("DUPLICATE_ID", f"the id {name!r} comes twice in this call; the first is taken")
        seen.add(name)
    return found


def _existing(
    ids: list[str], present: Callable[[list[str]], Collection[str]], existing: Existing
) -> dict[int, tuple[str, str]]:
    if existing == "either" or not ids:
        return {}
    known = present(ids)
    if existing == "refused":
        if not known:
            return {}
        message = "there is a row with the id {!r} already; upsert would replace it"
        return {row: ("ALREADY_EXISTS", message.format(name)) for row, name in enumerate(ids) if name in known}
    return {
        row: ("NOT_FOUND", f"there is no row with the id {name!r}") for row, name in enumerate(ids) if name not in known
    }


def _metadata(metadata: list[Any], columns: Columns) -> dict[int, tuple[str, str]]:
    found = {}
    for row, given in enumerate(metadata):
        try:
            metadata[row] = settled(given, columns)
        except Refused as exc:
            found[row] = ("INVALID_METADATA", str(exc))
    return found
