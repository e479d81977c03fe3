"""Rows are embedded, and what is done is kept in a journal batch by batch: what every engine does with what it was given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import numpy as np

from vjaccel.embedding import Embedder, EmbeddingStatistics, ItemError, Progress
from vjaccel.embedding.driver import CHUNK
from vjaccel.embedding.journal import Journal
from vjaccel.engines.places import Places, said_of
from vjaccel.errors import OutputError
from vjaccel.telemetry import Recording

__all__ = ["embed_rows"]

FIRST_SECONDS, RECORD_SECONDS = 0.25, 5.0
"""After which what a run is like is kept again, for a report of one that is killed: soon at first, then more seldom."""


def embed_rows(
    pieces: Iterable[tuple[np.ndarray, list[Any]]],
    embedder: Embedder,
    journal: Journal,
    show: Callable[[Progress], object],
    before: Recording | None = None,
    max_errors: int | None = None,
    total: int | None = None,
) -> tuple[EmbeddingStatistics | None, Recording | None]:
    """Embed texts, each once, into the rows of `journal` that they are given with.

    Parameters
    ----------
    pieces : iterable
        Rows, int64 (n,), and their texts.
    show : callable
        Called with how far it has come.
    before : Recording, optional
        What the run was like before.
    total : int, optional
        How many rows the run has.

    Returns
    -------
    EmbeddingStatistics or None
        None where there was nothing to embed.
    Recording or None
        What the run was like, with that before.

    Raises
    ------
    TooManyErrors
        More than `max_errors` have failed; it names rows.
    OutputError
    """
    places = Places()
    latest: Recording | None = None
    kept, patience = -RECORD_SECONDS, FIRST_SECONDS

    def whole(recording: Recording) -> Recording:
        return recording if before is None else before.followed_by(recording)

    def texts() -> Iterator[Any]:
        for rows, found in pieces:
            places.add(rows)
            yield from found

    def keep(numbers: np.ndarray, vectors: np.ndarray) -> None:
        journal.append(places.of(numbers), vectors)

    def progress(now: Progress) -> None:
        nonlocal kept, patience, latest
        latest = now.recording
        if time.monotonic() - kept > patience:
            # The first is kept before anything may have come of the run.
            patience = FIRST_SECONDS if kept < 0 else min(RECORD_SECONDS, patience * 2)
            kept = time.monotonic()
            journal.record(whole(now.recording))
        show(now)

    failed: dict[int, int] = {}

    def in_the_files(error: ItemError) -> ItemError:
        row = failed.get(error.index)
        return replace(error, index=int(places.of(np.array([error.index]))[0]) if row is None else row)

    statistics: EmbeddingStatistics | None = None
    chunks = embedder.stream(
        texts(), chunk_size=CHUNK, prompt=embedder.prompt_for("document"), on_error="collect", progress=progress, on_batch=keep,
        deduplicate=False, max_errors=max_errors, dim=journal.dim, total=total,
    )  # fmt: skip
    # Closed here, so that whatever happens no batch comes back to a journal that is closed.
    try:
        with closing(chunks), said_of(in_the_files):  # type: ignore[type-var]  # it is a generator
            for result in chunks:
                numbers = np.array([error.index for error in result.errors], np.int64)
                rows = places.of(numbers).tolist()
                journal.fail((row, error.code, error.message) for row, error in zip(rows, result.errors, strict=True))
                if max_errors is not None:
                    failed.update(zip(numbers.tolist(), rows, strict=True))
                places.forget(len(result))
                statistics = result.statistics
    except BaseException:
        # Stopped before anything was told: that nothing came of it is what is to be known then.
        latest = latest or Recording.empty(embedder.model, embedder.workers)
        raise
    finally:
        if latest is not None:
            with suppress(OutputError):  # nobody's vectors depend on it
                journal.record(whole(latest))
    return statistics, before if latest is None else whole(latest)
