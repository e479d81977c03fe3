"""A request to embed texts, in batches: each is a call of an `Embedder`."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import numpy as np

from vjaccel.batch.progress import Finished
from vjaccel.batch.providers import Chosen
from vjaccel.batch.requests import BatchEmbeddingRequest
from vjaccel.batch.work import left_undone
from vjaccel.batch.workers import Job
from vjaccel.embedding import Embedder, EmbeddingResult, ItemError, Progress
from vjaccel.errors import InvalidInput

__all__ = ["Embedding"]

CODES = ("INVALID_TEXT", "EMBEDDING_GENERATION_FAILED")


class _Stopped(Exception):
    """The request is over, and a batch of it under way."""


class Embedding:
    """The vectors of one request as they come, from several threads.

    Attributes
    ----------
    job : Job
        Its batches; set before they are run.
    total : int
        Its texts.
    """

    def __init__(
        self, request: BatchEmbeddingRequest, chosen: Chosen, batch_size: int, use_cache: bool, finished: Finished
    ) -> None:
        self.total = len(request.texts)
        self._texts = request.texts
        self._embedder = chosen.embedder
        self._prompt = _prompt(request, chosen.embedder)
        self._use_cache = use_cache
        self._finished = finished
        self._lock = threading.Lock()
        self._rows: np.ndarray | None = None
        self._bounds = [
            (low, min(low + batch_size, len(self._texts))) for low in range(0, len(self._texts), batch_size)
        ]
        self._results: dict[int, EmbeddingResult] = {}
        self.job: Job

    def pieces(self) -> list[partial[None]]:
        """Its batches."""
        return [partial(self._embed, place) for place in range(len(self._bounds))]

    def _embed(self, place: int) -> None:
        low, high = self._bounds[place]
        told = 0

        def progress(how_far: Progress) -> None:
            nonlocal told
            if self.job.is_over():
                raise _Stopped
            self._finished.add(how_far.done - told)
            told = how_far.done

        try:
            result = self._embedder.embed(
                self._texts[low:high], prompt=self._prompt, on_error="collect", use_cache=self._use_cache, progress=progress
            )  # fmt: skip
        except _Stopped:
            return
        self._take(place, result)
        self._finished.add(high - low - told)

    def _take(self, place: int, result: EmbeddingResult) -> None:
        low, high = self._bounds[place]
        with self._lock:
            self._results[place] = result
            if len(self._bounds) == 1:
                self._rows = result.embeddings
                return
            if self._rows is None and result.embeddings.shape[1]:
                self._rows = np.full((len(self._texts), result.embeddings.shape[1]), np.nan, np.float32)
        if self._rows is not None and result.embeddings.shape[1]:
            self._rows[low:high] = result.embeddings

    # When it is over

    @property
    def embeddings(self) -> np.ndarray:
        """(n, dim), NaN for what failed or was not done."""
        width = self._embedder.dim or 0
        return np.full((len(self._texts), width), np.nan, np.float32) if self._rows is None else self._rows

    def errors(self, code: str, why: str) -> tuple[ItemError, ...]:
        """Of all texts that have no vector, by index; those of batches that were not done by `code` and `why`."""
        found = []
        for place, (low, high) in enumerate(self._bounds):
            result = self._results.get(place)
            if result is None:
                found += left_undone(range(low, high), self.job.died.get(place), code, why)
                continue
            for error in result.errors:
                known = error.code in CODES
                message = error.message if known else f"{error.code}: {error.message}"
                found.append(ItemError(error.index + low, error.code if known else CODES[1], message))
        return tuple(found)

    @property
    def tokens(self) -> int | None:
        """Of the texts that were embedded; None where nobody counts them."""
        counts = [result.statistics.tokens for result in self._results.values()]
        return None if any(count is None for count in counts) else sum(count or 0 for count in counts)

    @property
    def cache_hits(self) -> int:
        """Distinct texts of a batch whose vector was in the cache."""
        return sum(result.statistics.cache_hits for result in self._results.values())

    @property
    def cache_misses(self) -> int:
        """Those whose vector was not."""
        return sum(result.statistics.cache_misses for result in self._results.values())


def _prompt(request: BatchEmbeddingRequest, embedder: Embedder) -> str | None:
    prompt, role = request.options.get("prompt"), request.options.get("role")
    if role is None:
        return prompt
    if prompt is not None:
        raise InvalidInput("options has prompt and role, which both say what is put before a text; give one of them")
    if role not in ("query", "document"):
        raise InvalidInput(f"role {role!r} is none of query, document")
    said: Any = embedder.prompt_for(role)
    return str(said)
