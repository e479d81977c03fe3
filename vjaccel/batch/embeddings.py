"""A request to embed texts, in batches: each is a call of an `Embedder`."""

from __future__ import annotations

from typing import Any

import numpy as np

from vjaccel.batch.progress import Finished
from vjaccel.batch.providers import Chosen
from vjaccel.batch.requests import BatchEmbeddingRequest
from vjaccel.batch.work import Stopped, Work
from vjaccel.embedding import Embedder, EmbeddingResult, EmbeddingStatistics, ItemError, Progress
from vjaccel.errors import InvalidInput

__all__ = ["Embedding"]

CODES = ("INVALID_TEXT", "EMBEDDING_GENERATION_FAILED")


class Embedding(Work[EmbeddingResult]):
    """The vectors of one request as they come, from several threads."""

    def __init__(
        self, request: BatchEmbeddingRequest, chosen: Chosen, batch_size: int, use_cache: bool, finished: Finished
    ) -> None:
        super().__init__(len(request.texts), batch_size, finished)
        self._texts = request.texts
        self._embedder = chosen.embedder
        self._prompt = _prompt(request, chosen.embedder)
        self._use_cache = use_cache
        self._rows: np.ndarray | None = None
        self._statistics: list[EmbeddingStatistics] = []

    def _do(self, low: int, high: int) -> EmbeddingResult:
        def progress(how_far: Progress) -> None:
            if self.job.is_over():
                raise Stopped
            self._tell(low, how_far.done)

        return self._embedder.embed(
            self._texts[low:high], prompt=self._prompt, on_error="collect", use_cache=self._use_cache, progress=progress
        )

    def _keep(self, low: int, high: int, found: EmbeddingResult) -> list[ItemError]:
        self._statistics.append(found.statistics)
        if len(found.embeddings) == self.total:
            self._rows = found.embeddings
        elif found.embeddings.shape[1]:
            if self._rows is None:
                self._rows = np.full((self.total, found.embeddings.shape[1]), np.nan, np.float32)
            self._rows[low:high] = found.embeddings
        return [_shown(error, low) for error in found.errors]

    # When it is over

    @property
    def embeddings(self) -> np.ndarray:
        """(n, dim), NaN for what failed or was not done."""
        width = self._embedder.dim or 0
        return np.full((self.total, width), np.nan, np.float32) if self._rows is None else self._rows

    @property
    def tokens(self) -> int | None:
        """Of the texts that were embedded; None where nobody counts them."""
        counts = [one.tokens for one in self._statistics]
        return None if any(count is None for count in counts) else sum(count or 0 for count in counts)

    @property
    def cache_hits(self) -> int:
        """Distinct texts of a batch whose vector was in the cache."""
        return sum(one.cache_hits for one in self._statistics)

    @property
    def cache_misses(self) -> int:
        """Those whose vector was not."""
        return sum(one.cache_misses for one in self._statistics)


def _shown(error: ItemError, low: int) -> ItemError:
    """An error of the batch that begins at `low`, as one of the request."""
    known = error.code in CODES
    message = error.message if known else f"{error.code}: {error.message}"
    return ItemError(error.index + low, error.code if known else CODES[1], message)


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
