"""What an embedding run gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.telemetry import Recording

__all__ = ["DeviceStatistics", "EmbeddingResult", "EmbeddingStatistics", "ItemError", "Progress"]


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why one text has no vector, or one row of a call did not go into a collection.

    Attributes
    ----------
    index : int
        Its place in the input, counted from 0 over the whole run or call.
    code : str
        Of a collection's rows: see docs/collections.md. Of texts:
        ``INVALID_TEXT`` for what is no text, or none that can be tokenised, ``TOKEN_LIMIT_EXCEEDED`` for one that is too long
        where that is an error, ``EMBEDDING_GENERATION_FAILED`` when the model or provider failed on it,
        ``INVALID_EMBEDDING`` for a vector with NaN or infinity, ``DIMENSION_MISMATCH`` for one of another width; and a remote
        provider's: see docs/providers.md.
    message : str
        For people.
    id : str or None
        Of a collection's row, where it has one.
    """

    index: int
    code: str
    message: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceStatistics:
    """What one of several devices did.

    Attributes
    ----------
    texts, batches : int
        That it has embedded.
    tokens : int or None
        Of those texts; None where they are not counted.
    seconds : float
        That its batches took, all of them together.
    taken_out : str or None
        Why it was to have no more; None where it was not taken out.
    """

    texts: int
    batches: int
    tokens: int | None
    seconds: float
    taken_out: str | None = None

    def __add__(self, other: DeviceStatistics) -> DeviceStatistics:
        """Of both together."""
        tokens = None if self.tokens is None or other.tokens is None else self.tokens + other.tokens
        texts, batches = self.texts + other.texts, self.batches + other.batches
        out = other.taken_out or self.taken_out
        return DeviceStatistics(texts, batches, tokens, self.seconds + other.seconds, out)


@dataclass(frozen=True, slots=True)
class EmbeddingStatistics:
    """What was measured; None is what nobody knows.

    Attributes
    ----------
    texts, embedded, failed : int
        ``texts`` is the sum of the other two.
    failures : dict of str to int
        Failed texts by the `code` of their error.
    duplicates : int
        Texts that were in the run before, near enough to be remembered, and got the same vector or error.
    cache_hits, cache_misses : int
        Distinct texts whose vector was in the cache, and whose was not; of the first nothing is tokenised, or counted.
    truncated : int or None
        Texts that were longer than the model takes, and lost their end. None where a service may cut them off, and does not
        say so; 0 where it refuses them.
    tokens_lost : int or None
        Tokens that were cut off them.
    tokens : int or None
        Of the texts that the model embedded, special ones included, padding not; a remote service's own count.
    padding_share : float or None
        The share of padding in the batches that it embedded.
    batches : int
        Batches that were run, those repeated after a failure included.
    retries : int
        Requests to a remote service beyond the first for their batch.
    waited : float
        Seconds that batches have waited for limits and between attempts, all of them together.
    latency_p50, latency_p95, latency_p99 : float or None
        Seconds a batch took, without what it waited, that half of them, 95% and 99% did not exceed.
    started, ended : datetime
        In UTC; `ended` is when these statistics were made.
    seconds : float
        Wall-clock time.
    peak_memory_bytes : int
        The largest resident memory of this process that was seen after a batch.
    cpu_seconds : float
        Of this process, all its threads together, since the run began.
    devices : dict of str to DeviceStatistics
        Of a model on several devices, by the device, those that have embedded something or were taken out; else empty.
    """

    texts: int
    embedded: int
    failed: int
    failures: dict[str, int]
    duplicates: int
    cache_hits: int
    cache_misses: int
    truncated: int | None
    tokens_lost: int | None
    tokens: int | None
    padding_share: float | None
    batches: int
    retries: int
    waited: float
    latency_p50: float | None
    latency_p95: float | None
    latency_p99: float | None
    started: datetime
    ended: datetime
    seconds: float
    peak_memory_bytes: int
    cpu_seconds: float
    devices: dict[str, DeviceStatistics] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: the times as text, and the rates too."""
        times = {name: getattr(self, name).isoformat(timespec="milliseconds") for name in ("started", "ended")}
        rates = {name: getattr(self, name) for name in ("texts_per_second", "tokens_per_second")}
        return asdict(self) | times | rates

    def _repr_html_(self) -> str:
        return str(_shown().statistics_html(self))

    @property
    def texts_per_second(self) -> float | None:
        """Texts embedded in a second; None for an empty run."""
        return self.embedded / self.seconds if self.embedded and self.seconds else None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens that the model saw in a second; None where they are not counted."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """The vectors of a run, in the order of its texts.

    Attributes
    ----------
    embeddings : array, shape (n, dim), float32
        A row of NaN for a text that failed. NumPy, or the library of the `backend` that was asked for. In another `precision`
        int8 or uint8, with a row of zeros for a text that failed; of bits, (n, ceil(dim / 8)). Of shape (n, 0) where no text
        has a vector and nobody knows how wide one would be.
    ok : ndarray of bool, shape (n,)
        Which texts have a vector.
    errors : tuple of ItemError
        One for each text that has none, by index.
    statistics : EmbeddingStatistics
    recording : Recording
        What the run was like: what `report` shows. Of a stream it goes on.
    start : int
        The number in the run of the first text: 0, but for the results of a stream.
    chunks : ndarray of int64, shape (n,), or None
        With ``truncate="chunk"``, how many windows each text was cut into: 1 for one that is not too long, 0 for one that has
        no vector or whose vector was in the cache.
    tokens : ndarray of int64, shape (n,), or None
        Of each text as the model has seen it; 0 for one that was not tokenised, as its vector was in the cache. None where they
        are not counted here: of a service, and of functions.
    """

    embeddings: Any
    ok: np.ndarray
    errors: tuple[ItemError, ...]
    statistics: EmbeddingStatistics
    recording: Recording
    start: int = 0
    chunks: np.ndarray | None = None
    tokens: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ok)

    def _repr_html_(self) -> str:
        return str(_shown().result_html(self))

    def report(self, path: str | Path, texts: Sequence[object] | None = None, *, price: float | None = None) -> None:
        """Write a page of what the run was like to an HTML file, with a map of these vectors: see docs/report.md.

        Parameters
        ----------
        path : str or Path
        texts : sequence of str, optional
            Those that were embedded, to be seen in the map and the lists.
        price : float, optional
            Of a million tokens, in any currency: the page then says what the run has cost.

        Raises
        ------
        InvalidInput
            `texts` are not as many as the vectors, or no sequence: an iterator has been read to its end.
        MissingExtra
            plotly is not installed (extra ``report``).
        OutputError
            The file cannot be written.

        Examples
        --------
        >>> import vjaccel as vj
        >>> texts = ["melt butter", "a floor plan", "a small knob"]
        >>> with vj.Embedder(lambda texts: [[len(text), text.count(" ")] for text in texts]) as embedder:
        ...     embedder.embed(texts).report("run.html", texts)  # doctest: +SKIP
        """
        _shown().write_report(self, Path(path), texts, price)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come; told after each batch, and each second in which none came, where threads embed.

    Attributes
    ----------
    done : int
        Texts that are embedded or have failed.
    total : int or None
        Texts in all, where that is known.
    tokens : int or None
        Tokens that the model has seen.
    seconds : float
        Since the run began.
    recording : Recording
        Of what the run was like until now; it goes on.
    """

    done: int
    total: int | None
    tokens: int | None
    seconds: float
    recording: Recording


def _shown() -> Any:
    """What shows results, loaded when it is needed; by name, since it needs the arrays, whose errors name results."""
    return import_module("vjaccel.embedding.shown")
