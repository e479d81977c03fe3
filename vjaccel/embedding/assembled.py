"""The result of a run, put together from what was gathered for its chunks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.dispatch import move
from vjaccel.arrays.protocol import Backend
from vjaccel.embedding.arguments import OnError
from vjaccel.embedding.driver import Run
from vjaccel.embedding.gathered import Gathered, Rows
from vjaccel.embedding.precision import Quantizer
from vjaccel.embedding.result import EmbeddingResult, ItemError
from vjaccel.errors import EmbeddingErrors

__all__ = ["on_device", "on_host", "result_of", "settled"]


def on_host(rows: Rows | None, width: int, ok: np.ndarray, quantizer: Quantizer) -> np.ndarray:
    """The vectors in the precision that was asked for, NaN or zero codes for those of texts that failed."""
    assert rows is not None  # on a device there are none
    made = rows.made(width)
    made[~ok] = np.nan
    if quantizer.needs_ranges:
        quantizer.fit(made[ok])  # ranges that are not known yet are these vectors'
    return quantizer.codes(made, ok)


def on_device(chunks: Sequence[Gathered], ok: np.ndarray, width: int, target: Backend) -> Any:
    """The vectors of all chunks in the texts' order, put together where they are, then handed to the backend."""
    parts = [(chunk.start + indices, vectors) for chunk in chunks for indices, vectors in chunk.parts]
    if not parts:
        return target.asarray(np.full((len(ok), width), np.nan, np.float32))
    vectors = [move(x, target) for _, x in parts]
    places = np.zeros(len(ok), np.int64)
    there = np.concatenate([indices for indices, _ in parts])
    places[there] = np.arange(len(there))
    for chunk in chunks:
        for index, source, place in chunk.copies:
            places[chunk.start + index] = places[source.start + place]
    xp = array_namespace(vectors[0])
    joined = xp.take(xp.concat(vectors), target.asarray(places), axis=0)
    return joined if ok.all() else xp.where(target.asarray(ok)[:, None], joined, xp.nan)


def result_of(
    embeddings: Any, ok: np.ndarray, chunks: Sequence[Gathered], run: Run, start: int = 0, *, windowed: bool
) -> EmbeddingResult:
    """The vectors of chunks, the first of whose texts is number `start`, with what else was found of them and of their run."""
    return EmbeddingResult(
        embeddings,
        ok,
        _errors_of(chunks),
        run.statistics(),
        run.recording,
        start,
        _windows_of(chunks) if windowed else None,
        _tokens_of(chunks),
    )


def settled(result: EmbeddingResult, on_error: OnError) -> EmbeddingResult:
    """The result, or the error that carries it."""
    if result.errors and on_error == "raise":
        raise EmbeddingErrors(result)
    return result


def _errors_of(chunks: Sequence[Gathered]) -> tuple[ItemError, ...]:
    """All errors, by index."""
    errors: Iterable[ItemError] = (error for chunk in chunks for error in chunk.errors.values())
    return tuple(sorted(errors, key=lambda error: error.index))


def _windows_of(chunks: Sequence[Gathered]) -> np.ndarray:
    """How many windows each text was cut into; 0 for those that were not embedded."""
    cut = (np.zeros(chunk.size, np.int64) if chunk.chunks is None else chunk.chunks for chunk in chunks)
    return np.concatenate([np.empty(0, np.int64), *cut])


def _tokens_of(chunks: Sequence[Gathered]) -> np.ndarray | None:
    """The tokens of each text, 0 for those that were not tokenised; None where nobody counted any."""
    if all(chunk.tokens is None for chunk in chunks):
        return None
    counted = (np.zeros(chunk.size, np.int64) if chunk.tokens is None else chunk.tokens for chunk in chunks)
    return np.concatenate([np.empty(0, np.int64), *counted])
