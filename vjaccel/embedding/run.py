"""The stages of a run: plain functions over a chunk of texts, and the object that gathers what they find.

A chunk goes through `prepared` (check, tokenise), `planned` (cut into batches) and, batch by batch, `embedded`. None of them
knows a thread or a loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vjaccel.arrays.dispatch import home_of
from vjaccel.arrays.registry import get_backend
from vjaccel.embedding.planner import plan
from vjaccel.embedding.providers.protocol import Prepared, Provider
from vjaccel.embedding.result import EmbeddingStatistics, ItemError

__all__ = ["Chunk", "Gathered", "Tally", "embedded", "planned", "prepared"]


@dataclass
class Tally:
    """What a run counts as it goes."""

    texts: int = 0
    failed: int = 0
    truncated: int = 0
    tokens_lost: int = 0
    tokens: int = 0
    padded: int = 0
    batches: int = 0
    counted: bool = True
    peak_memory_bytes: int = 0

    def statistics(self, seconds: float) -> EmbeddingStatistics:
        """The statistics, None for what the provider cannot count."""
        known = self.counted
        return EmbeddingStatistics(
            texts=self.texts,
            embedded=self.texts - self.failed,
            failed=self.failed,
            truncated=self.truncated if known else None,
            tokens_lost=self.tokens_lost if known else None,
            tokens=self.tokens if known else None,
            padding_share=1.0 - self.tokens / self.padded if known and self.padded else None,
            batches=self.batches,
            seconds=seconds,
            peak_memory_bytes=self.peak_memory_bytes,
        )


@dataclass
class Gathered:
    """The vectors of a chunk as they come, from several threads.

    On the host they go straight to their rows; on a device they are kept, and put in order once, at the end.
    """

    size: int
    dim: int | None
    on_device: bool
    rows: np.ndarray | None = None
    parts: list[tuple[np.ndarray, Any]] = field(default_factory=list)
    ok: np.ndarray = field(init=False)
    errors: list[ItemError] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.ok = np.zeros(self.size, np.bool_)

    def expect(self, width: int) -> int:
        """The width that vectors must have: the first one seen, where the provider does not say."""
        with self.lock:
            self.dim = self.dim or width
            if self.rows is None and not self.on_device:
                self.rows = np.full((self.size, self.dim), np.nan, np.float32)
            return self.dim

    def put(self, indices: np.ndarray, vectors: Any, good: np.ndarray) -> None:
        """Keep the vectors of the texts `indices` of this chunk that are `good`."""
        self.ok[indices] = good
        if self.on_device:
            with self.lock:
                self.parts.append((indices, vectors))
        else:
            assert self.rows is not None  # `expect` comes first
            self.rows[indices[good]] = vectors[good]

    def fail(self, index: int, code: str, message: str) -> None:
        """Note why a text has no vector; `index` counts over the whole run."""
        with self.lock:
            self.errors.append(ItemError(index, code, message))


@dataclass
class Chunk:
    """Some texts of a run, from the `first` on."""

    first: int
    valid: np.ndarray
    prepared: Prepared
    gathered: Gathered


def prepared(
    texts: Sequence[Any], first: int, prompt: str, provider: Provider, gathered: Gathered, tally: Tally
) -> Chunk:
    """Set aside what is no text, and have the provider tokenise the rest."""
    valid = np.fromiter((i for i, text in enumerate(texts) if isinstance(text, str)), np.int64)
    if len(valid) < len(texts):
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                gathered.fail(first + i, "INVALID_TEXT", f"a text is a str, not {type(text).__name__}")
    ready = provider.prepare([texts[i] for i in valid], prompt) if len(valid) else _nothing()
    tally.texts += len(texts)
    tally.counted = tally.counted and (ready.counted or not len(valid))
    tally.tokens += int(ready.lengths.sum())
    tally.truncated += int((ready.lost > 0).sum())
    tally.tokens_lost += int(ready.lost.sum())
    return Chunk(first, valid, ready, gathered)


def planned(chunk: Chunk, provider: Provider) -> list[np.ndarray]:
    """The batches of a chunk: indices into its prepared items."""
    return plan(chunk.prepared.lengths, provider.batch_tokens, provider.batch_texts)


def embedded(chunk: Chunk, batch: np.ndarray, prompt: str, provider: Provider, tally: Tally) -> None:
    """Embed one batch; what fails is tried again in halves, so that one bad text costs one error and not its batch."""
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        try:
            vectors = provider.embed([chunk.prepared.items[i] for i in part], prompt)
            _keep(chunk, part, vectors)
        except Exception as exc:
            waiting.extend(_after(exc, chunk, part, provider))
        finally:
            with chunk.gathered.lock:
                tally.batches += 1
                tally.padded += int(chunk.prepared.lengths[part].max()) * len(part)


def _after(exc: Exception, chunk: Chunk, part: np.ndarray, provider: Provider) -> list[np.ndarray]:
    """What is to be tried again after a batch failed."""
    if provider.is_out_of_memory(exc) and len(part) > 1:
        # Remembered, so that the same size is not tried again in this run or the next.
        padded = int(chunk.prepared.lengths[part].max()) * len(part)
        provider.batch_tokens = max(1, min(provider.batch_tokens, padded // 2))
    if len(part) > 1:
        return [part[: len(part) // 2], part[len(part) // 2 :]]
    message = f"{type(exc).__name__}: {str(exc).strip().partition(chr(10))[0]}"
    chunk.gathered.fail(chunk.first + int(chunk.valid[part[0]]), "EMBEDDING_GENERATION_FAILED", message)
    return []


def _keep(chunk: Chunk, part: np.ndarray, vectors: Any) -> None:
    gathered = chunk.gathered
    home = home_of(vectors)
    finite: Callable[[Any], np.ndarray] = lambda x: np.isfinite(x).all(axis=1)  # noqa: E731  # one line, replaced below
    if home is None or not gathered.on_device:
        host = vectors if home is None else get_backend(f"{home[0].name}:{home[1]}").to_numpy(vectors)
        vectors = np.asarray(host, dtype=np.float32)
    else:
        backend = get_backend(f"{home[0].name}:{home[1]}")
        finite = lambda x: backend.to_numpy((x - x == 0).all(1))  # noqa: E731  # infinity - infinity is NaN
    if vectors.ndim != 2 or vectors.shape[0] != len(part):
        raise ValueError(f"{len(part)} texts came back as an array of shape {tuple(vectors.shape)}")
    indices = chunk.valid[part]
    width = gathered.expect(int(vectors.shape[1]))
    if vectors.shape[1] != width:
        for i in indices:
            gathered.fail(
                chunk.first + int(i), "DIMENSION_MISMATCH", f"its vector has width {vectors.shape[1]}, others {width}"
            )
        return
    good = finite(vectors)
    for i in indices[~good]:
        gathered.fail(chunk.first + int(i), "INVALID_EMBEDDING", "its vector has a NaN or an infinity")
    gathered.put(indices, vectors, good)


def _nothing() -> Prepared:
    return Prepared([], np.empty(0, np.int64), np.empty(0, np.int64), counted=True)
