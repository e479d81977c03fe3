"""The changes of a collection: judged and done in one turn of its store, anew where another writer was faster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from vjaccel.collection.filters import check_filter
from vjaccel.collection.judging import Existing, Judged, judged, sequence
from vjaccel.collection.metadata import Columns
from vjaccel.collection.results import BatchResult
from vjaccel.collection.store import Put, Store, Writer
from vjaccel.errors import CollectionConflict, CollectionErrors, InvalidInput

__all__ = ["OnError", "check_on_error", "delete", "put", "update"]

OnError = Literal["collect", "raise"]

ATTEMPTS = 20
"""At a change of a collection that other machines write to as well."""


def put(
    store: Store, ids: object, vectors: object, metadata: object, existing: Existing, on_error: OnError
) -> BatchResult:
    """Put whole rows in."""
    if vectors is None:
        raise InvalidInput("there are no vectors; they are a list, or an array (n, dim)")
    ids, metadata = sequence("ids", ids), None if metadata is None else sequence("metadata", metadata)

    def work(writer: Writer) -> BatchResult:
        rows, columns = _judged(store, writer, ids, vectors, metadata, existing, on_error)
        if not rows.ids:
            return _result(rows, writer.version)
        assert rows.vectors is not None
        values = None if rows.metadata is None else [_present(row) for row in rows.metadata]
        there = writer.present(rows.ids) if existing == "either" else set()
        return _result(rows, writer.put(Put(rows.ids, rows.vectors, values, columns, there)))

    return _changed(store, work, on_error)


def update(store: Store, ids: object, vectors: object, metadata: object, on_error: OnError) -> BatchResult:
    """Change parts of rows."""
    if vectors is None and metadata is None:
        raise InvalidInput("update needs vectors, metadata or both")
    ids, metadata = sequence("ids", ids), None if metadata is None else sequence("metadata", metadata)

    def work(writer: Writer) -> BatchResult:
        rows, columns = _judged(store, writer, ids, vectors, metadata, "needed", on_error)
        if not rows.ids:
            return _result(rows, writer.version)
        before = writer.get(rows.ids)
        assert before.vectors is not None
        assert before.metadata is not None
        values = before.metadata
        if rows.metadata is not None:
            values = [_present({**old, **new}) for old, new in zip(values, rows.metadata, strict=True)]
        now = before.vectors if rows.vectors is None else rows.vectors
        return _result(rows, writer.put(Put(rows.ids, now, values, columns, set(rows.ids))))

    return _changed(store, work, on_error)


def delete(store: Store, ids: object, where: str | None, on_error: OnError) -> BatchResult:
    """Remove rows."""
    if (ids is None) == (where is None):
        raise InvalidInput("delete needs ids or where, and not both")
    check_filter(where)
    ids = None if ids is None else sequence("ids", ids)

    def work(writer: Writer) -> BatchResult:
        if ids is None:
            gone = writer.matching(where)
            return BatchResult(tuple(gone), (), writer.remove(gone) if gone else writer.version)
        rows, _ = _judged(store, writer, ids, None, None, "needed", on_error)
        return _result(rows, writer.remove(rows.ids) if rows.ids else writer.version)

    return _changed(store, work, on_error)


def check_on_error(on_error: object) -> None:
    """Refuse what is no `OnError`.

    Raises
    ------
    InvalidInput
    """
    if on_error not in ("collect", "raise"):
        raise InvalidInput(f"on_error {on_error!r} is neither 'collect' nor 'raise'")


def _changed(store: Store, work: Callable[[Writer], BatchResult], on_error: OnError) -> BatchResult:
    check_on_error(on_error)
    for _ in range(ATTEMPTS - 1):
        with suppress(CollectionConflict), store.writing() as writer:
            return work(writer)
    with store.writing() as writer:
        return work(writer)


def _judged(
    store: Store,
    writer: Writer,
    ids: object,
    vectors: object,
    metadata: object,
    existing: Existing,
    on_error: OnError,
) -> tuple[Judged, Columns]:
    columns = dict(writer.columns)
    rows = judged(ids, vectors, metadata, dim=store.description.dim, columns=columns, view=writer, existing=existing)
    if rows.errors and on_error == "raise":
        raise CollectionErrors(BatchResult((), _errors(rows), writer.version), len(rows.errors) + len(rows.ids))
    return rows, columns


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _errors(rows: Judged) -> tuple[Any, ...]:
    return tuple(rows.errors[place] for place in sorted(rows.errors))


def _result(rows: Judged, version: int) -> BatchResult:
    return BatchResult(tuple(rows.ids), _errors(rows), version)
