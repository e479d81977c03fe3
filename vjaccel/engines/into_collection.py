"""A run into a collection: each text with its vector becomes a row, and what is there already is not embedded again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np

from vjaccel.collection import Collection
from vjaccel.collection.judging import unfit
from vjaccel.collection.metadata import Columns, Kind, same
from vjaccel.embedding import Embedder, EmbeddingResult, EmbeddingStatistics, ItemError, Progress
from vjaccel.embedding.driver import NAMED
from vjaccel.embedding.seen import SeenTexts
from vjaccel.engines.kept_vectors import KeptVectors
from vjaccel.engines.places import said_of
from vjaccel.errors import TooManyErrors
from vjaccel.io import as_metadata

__all__ = ["Collected", "TextRow", "embed_into", "rows_to_embed", "store_embedded", "texts_to_embed"]


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


@dataclass(slots=True)
class Collected:
    """What became of the rows.

    Attributes
    ----------
    rows, stored, resumed, updated, there : int
        All; those that were embedded and put in; those put in whose vectors a run had kept that was stopped before it stored
        them; those of which the text was there, and other fields were not; those that were there just so, or came twice.
    failures : Counter of str
        Rows that are not in, by the code of their error.
    statistics : EmbeddingStatistics or None
        Of what was embedded.
    first_failed : list of ItemError
        The first few rows that are not in.
    """

    rows: int = 0
    stored: int = 0
    resumed: int = 0
    updated: int = 0
    there: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    statistics: EmbeddingStatistics | None = None
    first_failed: list[ItemError] = field(default_factory=list)


CHUNK = 1024
"""Texts whose rows are stored together."""

Log = Callable[[Iterable[dict[str, Any]]], object]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A row that is being embedded."""

    number: int
    id: str
    metadata: dict[str, Any]


def embed_into(
    groups: Iterable[list[TextRow]],
    embedder: Embedder,
    opened: Callable[[int | None], Collection | None],
    text_field: str,
    *,
    floats: Set[str] = frozenset(),
    seen: SeenTexts | None,
    kept: KeptVectors | None = None,
    max_latency: float | None,
    max_errors: int | None,
    log: Log,
    show: Callable[[Progress, int], object],
    took: Callable[[EmbeddingResult, list[tuple[str, Any]]], object] = lambda result, rows: None,
) -> Collected:
    """Embed texts into a collection.

    Parameters
    ----------
    groups : iterable of list of TextRow
        The rows as they are read.
    opened : callable
        From the width of the vectors, or None where it is not known yet, to the collection; None where that has to be known.
    text_field : str
        The key of the metadata under which the texts stand.
    floats : set of str
        Fields of which some row is known to have a float: the whole numbers of the others are floats too.
    seen : SeenTexts or None
        An index for the ids: one that comes twice is then an error. None where it is a change of the row.
    kept : KeptVectors, optional
        Where vectors are kept from the moment they come: what it has is not embedded.
    max_latency : float or None
        Seconds that a row may wait for others, where the groups do not come at once. What is there is then not looked for.
    log : callable
        Called with the errors of rows, each a record of its index, id, code and message.
    show : callable
        Called with how far the run is, and how many rows beside had nothing to be embedded.
    took : callable
        Called with what was embedded and is stored, and the id and text of each row of it.

    Raises
    ------
    TooManyErrors
    """
    done, embedded = Collected(), _Embedded()
    # By their number in the stream; an interrupt may come anywhere, and leaves no doubt which vector is whose.
    waiting: dict[int, _Wanted] = {}
    failed: dict[int, _Wanted] = {}
    numbers = count()
    into = opened(embedder.dim or (None if kept is None else kept.dim))
    columns: Columns = {} if into is None else into.columns
    floats = _new_floats(floats, columns)

    def too_many() -> bool:
        return max_errors is not None and done.failures.total() > max_errors

    def in_the_input(error: ItemError) -> ItemError:
        row = failed.get(error.index) or waiting[error.index]
        return replace(error, index=row.number, id=row.id)

    def texts() -> Iterator[Any]:
        for rows in groups:
            first = done.rows
            named = _storable(rows, text_field, floats, seen, columns, done, log)
            if into is not None and max_latency is None:
                named, other = _missing(named, into, text_field, done)
                _brought_up_to_date(other, into, done, log)
            if kept is not None:
                sources = kept.sources(first, [row.text for row in rows])
                if into is not None:
                    named = _without_vector(
                        named, sources[[row.number - first for row in named]], kept, into, done, log
                    )
            if too_many():
                return
            for row in named:
                waiting[next(numbers)] = row
                yield rows[row.number - first].text

    def keep(numbers: np.ndarray, vectors: np.ndarray) -> None:
        embedded.add(numbers, vectors)
        if kept is not None:
            kept.keep([waiting[number].number for number in numbers.tolist()], vectors)

    results = embedder.stream(
        texts(), chunk_size=CHUNK, max_latency=max_latency, prompt=embedder.prompt_for("document"), on_error="collect",
        max_errors=max_errors, dim=None if into is None else into.dim, on_batch=keep,
        progress=lambda now: show(now, done.there + done.updated + done.resumed),
    )  # fmt: skip
    try:
        with closing(results), said_of(in_the_input):  # type: ignore[type-var]  # it is a generator
            for result in results:
                if into is None and result.ok.any():
                    into = opened(result.embeddings.shape[1])
                places = range(result.start, result.start + len(result))
                rows = [waiting[number] for number in places]
                _store_result(rows, result, into, done, log)
                took(result, [(row.id, row.metadata.get(text_field)) for row in rows])
                done.statistics = result.statistics
                if max_errors is not None:
                    failed.update((error.index, waiting[error.index]) for error in result.errors)
                for number in places:
                    del waiting[number]
                embedded.forget(places.stop)
    finally:
        # Of a run that ends before its time: what was paid for is kept.
        rest = {number: vector for number, vector in embedded.rest().items() if number in waiting}
        if rest:
            vectors = np.array([*rest.values()])
            into = opened(vectors.shape[1]) if into is None else into
            assert into is not None  # its width is known
            _failed(_store([waiting[number] for number in rest], vectors, into, done), done, log)
    if max_errors is not None and too_many():
        raise TooManyErrors(done.failures, max_errors, done.first_failed)
    return done


def texts_to_embed(
    groups: Iterable[list[TextRow]],
    into: Collection | None,
    text_field: str,
    *,
    floats: Set[str],
    seen: SeenTexts,
    kept: np.ndarray,
    done: Collected,
) -> Iterator[list[Any]]:
    """The texts of each group that `embed_into` would embed; `done` has what would become of the others. Nothing is changed.

    `kept`, bool (rows,), are those that an earlier run has embedded.
    """
    columns: Columns = {} if into is None else into.columns
    floats = _new_floats(floats, columns)
    for rows in groups:
        first = done.rows
        named = _storable(rows, text_field, floats, seen, columns, done, lambda records: None)
        if into is not None:
            named, other = _missing(named, into, text_field, done)
            done.updated += len(other)
        wanted = [row for row in named if not kept[row.number]]
        done.resumed += len(named) - len(wanted)
        yield [rows[row.number - first].text for row in wanted]


def rows_to_embed(
    groups: Iterable[list[TextRow]],
    into: Collection | None,
    text_field: str,
    *,
    floats: Set[str],
    seen: SeenTexts,
    kept: KeptVectors,
) -> tuple[np.ndarray, int]:
    """The rows, bool (rows,), whose vectors `store_embedded` lacks in `kept`, one for each text; how many others have these.

    Nothing is changed.
    """
    done, wanted, lacking = Collected(), np.zeros(len(kept.journal.done), np.bool_), 0
    columns: Columns = {} if into is None else into.columns
    floats = _new_floats(floats, columns)
    for rows in groups:
        first = done.rows
        named = _storable(rows, text_field, floats, seen, columns, done, lambda records: None)
        if into is not None:
            named, _ = _missing(named, into, text_field, done)
        sources, same = kept.all_sources(first, [row.text for row in rows])
        places = np.array([row.number - first for row in named], np.int64)
        places = places[sources[places] < 0]
        wanted[same[places]] = True
        lacking += len(places)
    return wanted, lacking - int(wanted.sum())


def store_embedded(
    groups: Iterable[list[TextRow]],
    into: Collection | None,
    text_field: str,
    *,
    floats: Set[str],
    seen: SeenTexts,
    kept: KeptVectors,
    max_errors: int | None,
    log: Log,
    took: Callable[[np.ndarray, list[tuple[str, Any]]], object],
) -> Collected:
    """What `embed_into` does where all has been embedded that `rows_to_embed` told, or has failed, in `kept`.

    Parameters
    ----------
    took : callable
        Called with vectors that were not there before this run and are stored, and the id and text of each.

    Raises
    ------
    TooManyErrors
    """
    done = Collected()
    columns: Columns = {} if into is None else into.columns
    floats = _new_floats(floats, columns)
    for rows in groups:
        first = done.rows
        named = _storable(rows, text_field, floats, seen, columns, done, log)
        sources, same = kept.all_sources(first, [row.text for row in rows])
        if into is not None:
            named, other = _missing(named, into, text_field, done)
            _brought_up_to_date(other, into, done, log)
            there = sources[[row.number - first for row in named]]
            new = np.flatnonzero((there >= 0) & ~kept.before(there))
            stored = [(named[i].id, named[i].metadata.get(text_field)) for i in new]
            named = _without_vector(named, there, kept, into, done, log)
            if stored:
                took(kept.vectors(there[new]), stored)
        unknown = "EMBEDDING_GENERATION_FAILED", "it was not embedded"
        why = (kept.journal.error(int(same[row.number - first])) or unknown for row in named)
        _failed([(row, *reason) for row, reason in zip(named, why, strict=True)], done, log)
        if max_errors is not None and done.failures.total() > max_errors:
            raise TooManyErrors(done.failures, max_errors, done.first_failed)
    return done


class _Embedded:
    """Vectors of batches whose chunk has not been given out yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vectors: dict[int, np.ndarray] = {}

    def add(self, numbers: np.ndarray, vectors: np.ndarray) -> None:
        """Those of the texts `numbers` of the stream, int64 (n,)."""
        with self._lock:
            self._vectors.update(zip(numbers.tolist(), np.array(vectors), strict=True))

    def forget(self, stop: int) -> None:
        """All before the text `stop` are stored."""
        with self._lock:
            self._vectors = {number: vector for number, vector in self._vectors.items() if number >= stop}

    def rest(self) -> dict[int, np.ndarray]:
        """Those that are left, by number."""
        with self._lock:
            return dict(sorted(self._vectors.items()))


def _new_floats(floats: Set[str], columns: Columns) -> Set[str]:
    """Without those for which the collection has whole numbers: such a column keeps its kind."""
    return floats - {key for key, column in columns.items() if column.kind is Kind.INT}


def _storable(
    rows: list[TextRow], text_field: str, floats: Set[str], seen: SeenTexts | None, columns: Columns, done: Collected,
    log: Log,
) -> list[_Wanted]:  # fmt: skip
    """The next rows, but for those that come twice or cannot be stored: nothing is paid for these."""
    named = [_wanted(done.rows + i, row, text_field, floats) for i, row in enumerate(rows)]
    done.rows += len(rows)
    if seen is not None:
        named = _once(rows, named, seen, done, log)
    bad = unfit([row.id for row in named], [row.metadata for row in named], columns)
    _failed([(named[i], code, message) for i, (code, message) in sorted(bad.items())], done, log)
    return [row for i, row in enumerate(named) if i not in bad]


def _once(rows: list[TextRow], named: list[_Wanted], seen: SeenTexts, done: Collected, log: Log) -> list[_Wanted]:
    """The rows whose ids were not there before: without an id it is the same row again, with one another, and an error."""
    first = named[0].number if named else 0
    own = seen.first(first, [row.id for row in named]) == np.arange(first, first + len(named))
    again = [row for row, new in zip(named, own, strict=True) if not new]
    twice = [row for row in again if rows[row.number - first].id is not None]
    done.there += len(again) - len(twice)
    _failed([(row, "DUPLICATE_ID", f"the id {row.id!r} came before; the first is taken") for row in twice], done, log)
    return [row for row, new in zip(named, own, strict=True) if new]


def _missing(
    rows: list[_Wanted], into: Collection, text_field: str, done: Collected
) -> tuple[list[_Wanted], list[tuple[_Wanted, dict[str, Any]]]]:
    """The rows whose texts are to be embedded; and those that need no vector, but other fields than are there."""
    found = into.get([row.id for row in rows])
    before = dict(zip(found.ids, found.metadata, strict=True))
    missing, other = [], []
    for row in rows:
        there = before.get(row.id)
        if there is None or there.get(text_field) != row.metadata.get(text_field):
            missing.append(row)
        elif same(there, row.metadata):
            done.there += 1
        else:
            other.append((row, there))
    return missing, other


def _brought_up_to_date(
    other: list[tuple[_Wanted, dict[str, Any]]], into: Collection, done: Collected, log: Log
) -> None:
    if other:
        changes = [dict.fromkeys(there) | row.metadata for row, there in other]
        result = into.update([row.id for row, _ in other], metadata=changes)
        done.updated += len(result.ok)
        _failed([(other[error.index][0], error.code, error.message) for error in result.errors], done, log)


def _without_vector(
    rows: list[_Wanted], sources: np.ndarray, kept: KeptVectors, into: Collection, done: Collected, log: Log
) -> list[_Wanted]:
    """The rows that are to be embedded; the others are put in with the vectors that were kept of `sources`."""
    have = np.flatnonzero(sources >= 0)
    if len(have):
        found = [rows[i] for i in have]
        result = into.upsert([row.id for row in found], kept.vectors(sources[have]), [row.metadata for row in found])
        good = np.ones(len(have), np.bool_)
        good[[error.index for error in result.errors]] = False
        before = int(kept.before(sources[have])[good].sum())
        done.resumed, done.stored = done.resumed + before, done.stored + len(result.ok) - before
        _failed([(found[error.index], error.code, error.message) for error in result.errors], done, log)
    return [row for row, source in zip(rows, sources, strict=True) if source < 0]


def _store_result(
    rows: list[_Wanted], result: EmbeddingResult, into: Collection | None, done: Collected, log: Log
) -> None:
    errors = [(rows[error.index - result.start], error.code, error.message) for error in result.errors]
    good = np.flatnonzero(result.ok)
    if into is not None and len(good):
        errors += _store([rows[i] for i in good], result.embeddings[good], into, done)
    _failed(errors, done, log)


def _store(
    rows: list[_Wanted], vectors: np.ndarray, into: Collection, done: Collected
) -> list[tuple[_Wanted, str, str]]:
    """Put rows in; those that were refused, each with the code and the message of its error."""
    # Of a row that comes twice the last is kept.
    kept = sorted({row.id: place for place, row in enumerate(rows)}.values())
    stored = into.upsert([rows[i].id for i in kept], vectors[kept], [rows[i].metadata for i in kept])
    done.stored += len(stored.ok)
    done.there += len(rows) - len(kept)
    return [(rows[kept[error.index]], error.code, error.message) for error in stored.errors]


def _failed(errors: list[tuple[_Wanted, str, str]], done: Collected, log: Log) -> None:
    done.failures.update(code for _, code, _ in errors)
    some = errors[: NAMED - len(done.first_failed)]
    done.first_failed += [ItemError(row.number, code, message, row.id) for row, code, message in some]
    log({"index": row.number, "code": code, "message": message, "id": row.id} for row, code, message in errors)


def _wanted(number: int, row: TextRow, text_field: str, floats: Set[str]) -> _Wanted:
    metadata = {key: as_metadata(value) for key, value in row.fields.items() if value is not None}
    # By what stands in the input: what its other rows have makes it no other row.
    name = _made_id(row.text, metadata, text_field) if row.id is None else row.id
    for key in floats & metadata.keys():
        metadata[key] = _as_float(metadata[key])
    return _Wanted(number, name, metadata)


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
