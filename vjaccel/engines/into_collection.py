"""A run into a collection: each text with its vector becomes a row, and what is there already is not embedded again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from vjaccel.embedding import Embedder, EmbeddingResult, ItemError, Progress
from vjaccel.engines.collecting import Collected, Collecting, Target
from vjaccel.engines.places import said_of
from vjaccel.engines.sources import NamedRow, Source

__all__ = ["embed_into", "texts_to_embed"]

CHUNK = 1024
"""Texts whose rows are stored together."""


def embed_into(
    source: Source,
    embedder: Embedder,
    target: Target,
    *,
    max_latency: float | None,
    max_errors: int | None,
    show: Callable[[Progress, int], object],
    took: Callable[[EmbeddingResult, list[tuple[str, Any]]], object] = lambda result, rows: None,
) -> Collected:
    """Embed texts into a collection.

    Parameters
    ----------
    source : Source
        The rows, in groups.
    embedder : Embedder
        Of their texts.
    target : Target
        What the run has open of the collection.
    max_latency : float or None
        Seconds that a row may wait for others, where the groups do not come at once. What is there is then not looked for.
    max_errors : int or None
        Stop once more rows than this have failed.
    show : callable
        Called with how far the run is, and how many rows beside had nothing to be embedded.
    took : callable
        Called with what was embedded and is stored, and the id and text of each row of it.

    Raises
    ------
    TooManyErrors
    """
    kept, text_field = target.kept, source.text_field
    collecting = Collecting(source, target, embedder.dim or (None if kept is None else kept.dim))
    done, embedded = collecting.done, _Embedded()
    # By their number in the stream; an interrupt may come anywhere, and leaves no doubt which vector is whose.
    waiting: dict[int, NamedRow] = {}
    failed: dict[int, NamedRow] = {}
    numbers = count()

    def in_the_input(error: ItemError) -> ItemError:
        row = failed.get(error.index) or waiting[error.index]
        return replace(error, index=row.number, id=row.id)

    def texts() -> Iterator[Any]:
        for first, rows, wanted in collecting.groups():
            if max_latency is None:
                wanted, other = collecting.missing(wanted)
                collecting.bring_up_to_date(other)
            if kept is not None:
                sources = kept.sources(first, [row.text for row in rows])
                wanted = collecting.store_kept(wanted, sources[[row.number - first for row in wanted]], kept)
            if done.exceeds(max_errors):
                return
            for row in wanted:
                waiting[next(numbers)] = row
                yield rows[row.number - first].text

    def keep(numbers: np.ndarray, vectors: np.ndarray) -> None:
        embedded.add(numbers, vectors)
        if kept is not None:
            kept.keep([waiting[number].number for number in numbers.tolist()], vectors)

    def progress(now: Progress) -> None:
        beside = done.there + done.updated + done.resumed
        if source.rows is not None:
            now.recording.expects(source.rows, beside)
        show(now, beside)

    into = target.collection
    results = embedder.stream(
        texts(), chunk_size=CHUNK, max_latency=max_latency, prompt=embedder.prompt_for("document"), on_error="collect",
        max_errors=max_errors, dim=None if into is None else into.dim, total=source.rows, on_batch=keep, progress=progress,
    )  # fmt: skip
    try:
        with closing(results), said_of(in_the_input):  # type: ignore[type-var]  # it is a generator
            for result in results:
                places = range(result.start, result.start + len(result))
                rows = [waiting[number] for number in places]
                collecting.store_result(rows, result)
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
            collecting.store([waiting[number] for number in rest], np.array([*rest.values()]))
    done.check(max_errors)
    return done


def texts_to_embed(source: Source, target: Target, kept: np.ndarray) -> Iterator[tuple[list[Any], Collected]]:
    """The texts of each group that `embed_into` would embed, and what would become of all until then. Nothing is changed.

    `kept`, bool (rows,), are those that an earlier run has embedded.
    """
    collecting = Collecting(source, target, None)
    done = collecting.done
    for first, rows, named in collecting.groups():
        named, other = collecting.missing(named)
        done.updated += len(other)
        wanted = [row for row in named if not kept[row.number]]
        done.resumed += len(named) - len(wanted)
        yield [rows[row.number - first].text for row in wanted], done


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
