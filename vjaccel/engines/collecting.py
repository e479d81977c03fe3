"""Rows on their way into a collection: which need a vector, what becomes of the others, and what was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vjaccel.collection import Collection
from vjaccel.collection.judging import unfit
from vjaccel.collection.metadata import Columns, Kind, same
from vjaccel.embedding import EmbeddingResult, EmbeddingStatistics, ItemError
from vjaccel.embedding.driver import NAMED
from vjaccel.embedding.seen import SeenTexts
from vjaccel.engines.kept_vectors import KeptVectors
from vjaccel.engines.sources import NamedRow, Source, TextRow, named
from vjaccel.errors import TooManyErrors

__all__ = ["Collected", "Collecting", "Other", "Target"]

Other = tuple[NamedRow, dict[str, Any]]
"""A row whose text is there, and whose other fields are not, with those that are."""

Refused = tuple[NamedRow, str, str]
"""A row that is not in, with the code and the message of its error."""


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

    def exceeds(self, max_errors: int | None) -> bool:
        """Whether more rows are not in than may be."""
        return max_errors is not None and self.failures.total() > max_errors

    def check(self, max_errors: int | None) -> None:
        """Raise where more rows are not in than may be.

        Raises
        ------
        TooManyErrors
        """
        if max_errors is not None and self.exceeds(max_errors):
            raise TooManyErrors(self.failures, max_errors, self.first_failed)


class Target:
    """What a run into a collection has open.

    Parameters
    ----------
    opened : callable
        From the width of the vectors, or None where it is not known yet, to the collection; None where that has to be known.
    seen : SeenTexts, optional
        An index for the ids: one that comes twice is then an error. None where it is a change of the row.
    kept : KeptVectors, optional
        Where vectors are kept from the moment they come: what it has is not embedded.
    log : callable
        Called with the errors of rows, each a record of its index, id, code and message.

    Attributes
    ----------
    collection : Collection or None
        None until `open` has it.
    """

    def __init__(
        self,
        opened: Callable[[int | None], Collection | None],
        *,
        seen: SeenTexts | None = None,
        kept: KeptVectors | None = None,
        log: Callable[[Iterable[dict[str, Any]]], object] = lambda records: None,
    ) -> None:
        self.collection: Collection | None = None
        self.seen = seen
        self.kept = kept
        self.log = log
        self._opened = opened

    def open(self, dim: int | None) -> Collection | None:
        """The collection, which is opened, or made, once."""
        if self.collection is None:
            self.collection = self._opened(dim)
        return self.collection


class Collecting:
    """The rows of `source` on their way to `target`, one group after another; `done` has what becomes of them.

    Parameters
    ----------
    source : Source
    target : Target
    dim : int or None
        The width of the vectors, where it is known.
    """

    def __init__(self, source: Source, target: Target, dim: int | None) -> None:
        into = target.open(dim)
        self.done = Collected()
        self._source = source
        self._target = target
        self._columns: Columns = {} if into is None else into.columns
        # A column that has whole numbers keeps its kind.
        self._floats = source.floats - {key for key, column in self._columns.items() if column.kind is Kind.INT}

    def groups(self) -> Iterator[tuple[int, list[TextRow], list[NamedRow]]]:
        """The groups, each with its first row's number, and with those of its rows that do not come twice and can be stored.

        So nothing is paid for the others.
        """
        for rows in self._source.groups():
            first = self.done.rows
            yield first, rows, self._storable(rows)

    def missing(self, rows: list[NamedRow]) -> tuple[list[NamedRow], list[Other]]:
        """The rows whose texts are to be embedded; and those that need no vector, but other fields than are there."""
        into = self._target.collection
        if into is None:
            return rows, []
        found = into.get([row.id for row in rows])
        before = dict(zip(found.ids, found.metadata, strict=True))
        text_field = self._source.text_field
        missing, other = [], []
        for row in rows:
            there = before.get(row.id)
            if there is None or there.get(text_field) != row.metadata.get(text_field):
                missing.append(row)
            elif same(there, row.metadata):
                self.done.there += 1
            else:
                other.append((row, there))
        return missing, other

    def bring_up_to_date(self, other: list[Other]) -> None:
        """Change the fields of rows that are there."""
        into = self._target.collection
        if into is not None and other:
            changes = [dict.fromkeys(there) | row.metadata for row, there in other]
            result = into.update([row.id for row, _ in other], metadata=changes)
            self.done.updated += len(result.ok)
            self.refused([(other[error.index][0], error.code, error.message) for error in result.errors])

    def store_kept(self, rows: list[NamedRow], sources: np.ndarray, kept: KeptVectors) -> list[NamedRow]:
        """The rows that are to be embedded; the others are put in with the vectors that were kept of `sources`."""
        into, have = self._target.collection, np.flatnonzero(sources >= 0)
        if into is None:
            return rows
        if len(have):
            found = [rows[i] for i in have]
            result = into.upsert(
                [row.id for row in found], kept.vectors(sources[have]), [row.metadata for row in found]
            )
            good = np.ones(len(have), np.bool_)
            good[[error.index for error in result.errors]] = False
            before = int(kept.before(sources[have])[good].sum())
            self.done.resumed += before
            self.done.stored += len(result.ok) - before
            self.refused([(found[error.index], error.code, error.message) for error in result.errors])
        return [row for row, source in zip(rows, sources, strict=True) if source < 0]

    def store_result(self, rows: list[NamedRow], result: EmbeddingResult) -> None:
        """Put in those of the rows that were embedded."""
        errors = [(rows[error.index - result.start], error.code, error.message) for error in result.errors]
        good = np.flatnonzero(result.ok)
        if len(good):
            errors += self._stored([rows[i] for i in good], result.embeddings[good])
        self.refused(errors)

    def store(self, rows: list[NamedRow], vectors: np.ndarray) -> None:
        """Put rows in."""
        self.refused(self._stored(rows, vectors))

    def refused(self, errors: list[Refused]) -> None:
        """Count and log rows that are not in."""
        self.done.failures.update(code for _, code, _ in errors)
        some = errors[: NAMED - len(self.done.first_failed)]
        self.done.first_failed += [ItemError(row.number, code, message, row.id) for row, code, message in some]
        self._target.log(
            {"index": row.number, "code": code, "message": message, "id": row.id} for row, code, message in errors
        )

    # Below

    def _storable(self, rows: list[TextRow]) -> list[NamedRow]:
        found = [named(self.done.rows + i, row, self._source.text_field, self._floats) for i, row in enumerate(rows)]
        self.done.rows += len(rows)
        if self._target.seen is not None:
            found = self._once(rows, found, self._target.seen)
        bad = unfit([row.id for row in found], [row.metadata for row in found], self._columns)
        self.refused([(found[i], code, message) for i, (code, message) in sorted(bad.items())])
        return [row for i, row in enumerate(found) if i not in bad]

    def _once(self, rows: list[TextRow], found: list[NamedRow], seen: SeenTexts) -> list[NamedRow]:
        """The rows whose ids were not there before: without an id it is the same row again, with one another, and an error."""
        first = found[0].number if found else 0
        own = seen.first(first, [row.id for row in found]) == np.arange(first, first + len(found))
        again = [row for row, new in zip(found, own, strict=True) if not new]
        twice = [row for row in again if rows[row.number - first].id is not None]
        self.done.there += len(again) - len(twice)
        self.refused([(row, "DUPLICATE_ID", f"the id {row.id!r} came before; the first is taken") for row in twice])
        return [row for row, new in zip(found, own, strict=True) if new]

    def _stored(self, rows: list[NamedRow], vectors: np.ndarray) -> list[Refused]:
        into = self._target.open(vectors.shape[1])
        assert into is not None  # its width is known
        # Of a row that comes twice the last is kept.
        kept = sorted({row.id: place for place, row in enumerate(rows)}.values())
        stored = into.upsert([rows[i].id for i in kept], vectors[kept], [rows[i].metadata for i in kept])
        self.done.stored += len(stored.ok)
        self.done.there += len(rows) - len(kept)
        return [(rows[kept[error.index]], error.code, error.message) for error in stored.errors]
