"""Files of vectors into a collection, and a collection into a file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.collection import BatchResult, Collection
from vjaccel.collection.arrow import array_of, field_of
from vjaccel.collection.metadata import Columns, Kind, same
from vjaccel.embedding import ItemError
from vjaccel.errors import InvalidInput
from vjaccel.io import VECTORS, Rows, VectorRows, json_record, open_output, whole_file

__all__ = ["Imported", "beside_of", "export_rows", "import_rows"]

BATCH = 8192
"""Rows of one change of the collection."""


@dataclass(slots=True)
class Imported:
    """What became of the rows of files.

    Attributes
    ----------
    rows, added, replaced, there : int
        All; those that the collection did not have; those that it had otherwise; those that it had just so.
    failures : Counter of str
        Rows that were not taken, by the code of their error.
    """

    rows: int = 0
    added: int = 0
    replaced: int = 0
    there: int = 0
    failures: Counter[str] = field(default_factory=Counter)


def import_rows(
    batches: Iterable[VectorRows],
    collection: Collection,
    *,
    replace_others: bool,
    log: Callable[[Iterable[dict[str, Any]]], object],
    show: Callable[[int], object],
) -> Imported:
    """Put rows into a collection; those that it has just so are passed over, so that a run that was killed can be begun again.

    Parameters
    ----------
    replace_others : bool
        Whether a row whose id the collection has otherwise replaces that one, or is an error.
    log : callable
        Called with the errors of rows, each a record of its index, id, code and message.
    show : callable
        Called with how many rows have been looked at.
    """
    done = Imported()
    for read in batches:
        rows = _timed(read, collection.columns)
        result = collection.insert(rows.ids, rows.vectors, rows.metadata)
        done.added += len(result.ok)
        errors = {error.index: error for error in result.errors}
        known = [place for place, error in errors.items() if error.code == "ALREADY_EXISTS"]
        for place in _just_so(rows, known, collection):
            del errors[place]
            done.there += 1
        others = [place for place in known if place in errors]
        if replace_others and others:
            again = _upserted(rows, others, collection)
            done.replaced += len(again.ok)
            for place in others:
                del errors[place]
            errors |= {others[error.index]: replace(error, index=others[error.index]) for error in again.errors}
        log(_record(done.rows, errors[place]) for place in sorted(errors))
        done.failures.update(error.code for error in errors.values())
        done.rows += len(rows)
        show(done.rows)
    return done


def export_rows(
    collection: Collection, output: Path, where: str | None, made_by: dict[str, Any], show: Callable[[int], object]
) -> int:
    """Write the rows of a collection, or those for which `where` holds, to a file; how many they are.

    Beside an npy file, which has room for nothing else, the ids and metadata go to a jsonl file.

    Raises
    ------
    InvalidInput, OutputError
    """
    import pyarrow as pa

    # One version, whatever others change meanwhile: the file's header has the count.
    with collection.checkout(collection.version) as fixed:
        rows, written, columns = fixed.count(where), 0, fixed.columns
        if VECTORS in columns:
            raise InvalidInput(f"its metadata has a key {VECTORS!r}, where the vectors are to be put: rename it")
        schema = pa.schema([pa.field("id", pa.string()), *(field_of(key, kind) for key, kind in columns.items())])
        with ExitStack() as held:
            file = held.enter_context(open_output(output, schema, fixed.dim, rows, made_by))
            beside = beside_of(output)
            lines = None if beside is None else held.enter_context(whole_file(beside))
            for batch in fixed.iter_batches(BATCH, where=where):
                metadata = list(batch.metadata)
                arrays = [array_of(key, kind, metadata, len(batch)) for key, kind in columns.items()]
                table = pa.RecordBatch.from_arrays([pa.array(batch.ids, pa.string()), *arrays], schema=schema)
                records = [{"id": name} | about for name, about in zip(batch.ids, metadata, strict=True)]
                file.write(Rows([], list(batch.ids), table, [*records]), batch.vectors, np.ones(len(batch), np.bool_))
                if lines is not None:
                    lines.writelines(map(json_record, records))
                written += len(batch)
                show(written)
    return rows


def beside_of(output: Path) -> Path | None:
    """The file that has the ids and metadata of an npy file's rows; None where the file itself has them."""
    return output.with_suffix(".jsonl") if output.suffix.lower() == ".npy" else None


def _just_so(rows: VectorRows, places: Sequence[int], collection: Collection) -> list[int]:
    """Those of some places whose rows the collection has with the same vector and metadata."""
    if not places:
        return []
    wanted = [str(rows.ids[place]) for place in places]
    found = collection.get(wanted)
    stored = {name: i for i, name in enumerate(found.ids)}
    there = []
    for place, name in zip(places, wanted, strict=True):
        number = stored.get(name)
        if number is None:
            continue
        about = {key: value for key, value in rows.metadata[place].items() if value is not None}
        # JSON has no NaN and no infinity, and an export has null for them.
        before = {key: value for key, value in found.metadata[number].items() if key in about or not _no_number(value)}
        vector = np.asarray(rows.vectors[place], np.float32)
        if same(before, about) and np.array_equal(found.vectors[number], vector):
            there.append(place)
    return there


def _no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _timed(rows: VectorRows, columns: Columns) -> VectorRows:
    """The rows, with times where JSON has text and the collection a column of times."""
    times = [key for key, column in columns.items() if column.kind in (Kind.DATETIME, Kind.DATETIME_UTC)]
    if not times:
        return rows
    read = [row | {key: _time(row[key]) for key in times if key in row} for row in rows.metadata]
    return rows._replace(metadata=read)


def _time(value: Any) -> Any:
    """A time that stands there as text; what is none stays, for the collection to refuse."""
    if isinstance(value, list):
        return [_time(item) for item in value]
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _upserted(rows: VectorRows, places: Sequence[int], collection: Collection) -> BatchResult:
    return collection.upsert(
        [rows.ids[place] for place in places],
        [rows.vectors[place] for place in places],
        [rows.metadata[place] for place in places],
    )


def _record(first: int, error: ItemError) -> dict[str, Any]:
    return {"index": first + error.index, "id": error.id, "code": error.code, "message": error.message}
