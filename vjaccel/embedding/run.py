"""The stages of a run: plain functions over a chunk of texts, and the objects that gather what they find.

A chunk goes through `prepared` (check, tokenise), `planned` (cut into batches) and, batch by batch, `embedded`. None of them
knows a thread or a loop; what several threads write to holds a lock.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.dispatch import home_of
from vjaccel.arrays.registry import get_backend
from vjaccel.embedding.planner import plan
from vjaccel.embedding.providers.protocol import BatchFailed, Prepared, Provider, Reply
from vjaccel.embedding.result import EmbeddingStatistics, ItemError

__all__ = ["Chunk", "Gathered", "Rows", "Tally", "Width", "embedded", "planned", "prepared", "said"]

BATCH_COST = 32
"""Tokens in the time of which a batch is started, and the part of its budget where that is large. Measured on a CPU, budget
1024: batches cut by it gave 6 to 7% more tokens a second than full ones, short texts and mixed; on a GPU not yet."""


@dataclass
class Tally:
    """What is counted as a run goes.

    `counted` is whether the provider counts tokens before it embeds, `told` whether tokens are known of all that was embedded.
    """

    texts: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    truncated: int = 0
    tokens_lost: int = 0
    tokens: int = 0
    padded: int = 0
    batches: int = 0
    retries: int = 0
    waited: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    counted: bool = True
    told: bool = True

    def add(self, other: Tally) -> None:
        """Count what `other` has counted too."""
        for each in fields(self):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, mine and others if isinstance(mine, bool) else mine + others)

    @property
    def failed(self) -> int:
        """Texts that have no vector."""
        return self.failures.total()

    def statistics(self, started: datetime, seconds: float, peak_memory_bytes: int, cpu: float) -> EmbeddingStatistics:
        """The statistics, None for what the provider cannot count."""
        known = self.counted
        p50, p95, p99 = np.percentile(self.latencies, (50, 95, 99)).tolist() if self.latencies else (None, None, None)
        return EmbeddingStatistics(
            texts=self.texts,
            embedded=self.texts - self.failed,
            failed=self.failed,
            failures=dict(self.failures),
            truncated=self.truncated if known else None,
            tokens_lost=self.tokens_lost if known else None,
            tokens=self.tokens if self.told else None,
            padding_share=1.0 - self.tokens / self.padded if known and self.padded else None,
            batches=self.batches,
            retries=self.retries,
            waited=self.waited,
            latency_p50=p50,
            latency_p95=p95,
            latency_p99=p99,
            started=started,
            ended=started + timedelta(seconds=seconds),
            seconds=seconds,
            peak_memory_bytes=peak_memory_bytes,
            cpu_seconds=cpu,
        )


class Width:
    """The width that all vectors of a model have: what the provider says, or what the first vectors show."""

    def __init__(self, known: int | None) -> None:
        self.known = known
        self._lock = threading.Lock()

    def settled(self, seen: int) -> int:
        """The width there is to be, now that vectors of width `seen` have come."""
        with self._lock:
            self.known = self.known or seen
            return self.known


class Rows:
    """Vectors on the host for `size` texts, made when their width is known; or an array that was given."""

    def __init__(self, size: int, given: np.ndarray | None = None) -> None:
        self._size = size
        self._array = given
        self._lock = threading.Lock()

    def made(self, width: int) -> np.ndarray:
        """The array (size, width); rows that nobody wrote hold anything."""
        with self._lock:
            if self._array is None:
                self._array = np.empty((self._size, width), np.float32)
            return self._array


@dataclass
class Gathered:
    """The vectors of a chunk as they come, from several threads.

    On the host they go straight to their place in `rows`, from `start` on; on a device (`rows` is None) they are kept, and
    put in order once, at the end.
    """

    size: int
    width: Width
    rows: Rows | None
    start: int = 0
    parts: list[tuple[np.ndarray, Any]] = field(default_factory=list)
    ok: np.ndarray = field(init=False)
    errors: list[ItemError] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.ok = np.zeros(self.size, np.bool_)

    def put(self, indices: np.ndarray, vectors: Any, good: np.ndarray) -> None:
        """Keep the vectors of the texts `indices` of this chunk that are `good`."""
        if self.rows is None:
            with self.lock:
                self.parts.append((indices, vectors))
        else:
            self.rows.made(vectors.shape[1])[self.start + indices[good]] = vectors[good]
        self.ok[indices] = good

    def fail(self, index: int, code: str, message: str) -> None:
        """Note why a text has no vector; `index` counts over the whole run."""
        with self.lock:
            self.errors.append(ItemError(index, code, message))
            self.tally.failures[code] += 1


@dataclass
class Chunk:
    """Some texts of a run, from the `first` on; `valid` are the places of those that were prepared."""

    first: int
    valid: np.ndarray
    prepared: Prepared
    gathered: Gathered

    def padded(self, part: np.ndarray) -> int:
        """What the prepared texts `part` hold together, padded to the longest of them."""
        return int(self.prepared.lengths[part].max()) * len(part)


def prepared(texts: Sequence[Any], first: int, prompt: str, provider: Provider, gathered: Gathered) -> Chunk:
    """Set aside what is no text, and have the provider tokenise the rest."""
    valid = [i for i, text in enumerate(texts) if isinstance(text, str)]
    if len(valid) < len(texts):
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                gathered.fail(first + i, "INVALID_TEXT", f"a text is a str, not {type(text).__name__}")
    parts = _prepared(valid, texts, first, prompt, provider, gathered) if valid else []
    whole = Prepared(
        [item for _, part in parts for item in part.items],
        np.concatenate([np.empty(0, np.int64), *(part.lengths for _, part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.lost for _, part in parts)]),
        all(part.counted for _, part in parts),
    )
    tally = gathered.tally
    tally.texts = len(texts)
    tally.counted = whole.counted
    tally.truncated = int((whole.lost > 0).sum())
    tally.tokens_lost = int(whole.lost.sum())
    return Chunk(first, np.array([i for places, _ in parts for i in places], np.int64), whole, gathered)


def _prepared(
    places: list[int], texts: Sequence[Any], first: int, prompt: str, provider: Provider, gathered: Gathered
) -> list[tuple[list[int], Prepared]]:
    """The texts at `places` in as few parts as can be prepared: one, but for a text that the tokenizer will not take."""
    try:
        return [(places, provider.prepare([texts[i] for i in places], prompt))]
    except Exception as exc:
        if len(places) == 1:
            gathered.fail(first + places[0], "INVALID_TEXT", said(exc))
            return []
    half = len(places) // 2
    return [
        *_prepared(places[:half], texts, first, prompt, provider, gathered),
        *_prepared(places[half:], texts, first, prompt, provider, gathered),
    ]


def planned(chunk: Chunk, provider: Provider) -> list[np.ndarray]:
    """The batches of a chunk: indices into its prepared items."""
    return _batches(chunk, np.arange(len(chunk.prepared.items)), provider)


def _batches(chunk: Chunk, some: np.ndarray, provider: Provider) -> list[np.ndarray]:
    # Characters tell too little of what a model pads, and what a remote one charges for a batch, to cut finely.
    cost = max(BATCH_COST, provider.batch_tokens // BATCH_COST) if chunk.prepared.counted else None
    batches = plan(chunk.prepared.lengths[some], provider.batch_tokens, provider.batch_texts, cost)
    return [some[batch] for batch in batches]


def embedded(chunk: Chunk, batch: np.ndarray, prompt: str, provider: Provider, stop: threading.Event) -> int:
    """Embed one batch, and say how many texts that were.

    What fails is tried again in halves, so that one bad text costs one error and not its batch. Nothing is begun once `stop`
    is set, and a failure that every batch would share sets it.
    """
    tally, waiting = chunk.gathered.tally, [batch]
    while waiting and not stop.is_set():
        part = waiting.pop()
        if len(part) > 1 and chunk.padded(part) > provider.batch_tokens:
            # Memory ran out since this was planned.
            waiting.extend(_batches(chunk, part, provider))
            continue
        reply, failed, began = Reply(None), None, time.perf_counter()
        try:
            found = provider.embed([chunk.prepared.items[i] for i in part], prompt)
            reply = found if isinstance(found, Reply) else Reply(found)
            took = time.perf_counter() - began - reply.waited
            _keep(chunk, part, reply.vectors)
        except Exception as exc:
            failed = exc
            took = time.perf_counter() - began
        with chunk.gathered.lock:
            _count(tally, chunk, part, failed or reply, took)
        if failed is not None:
            if isinstance(failed, BatchFailed) and failed.then == "stop":
                stop.set()
                raise failed.__cause__ or failed
            waiting.extend(_after(failed, chunk, part, provider))
    return len(batch)


def _count(tally: Tally, chunk: Chunk, part: np.ndarray, ended: Reply | Exception, took: float) -> None:
    tally.batches += 1
    if isinstance(ended, Reply | BatchFailed):
        tally.retries += ended.retries
        tally.waited += ended.waited
    if not isinstance(ended, Reply):
        return
    tally.latencies.append(took)
    if chunk.prepared.counted:
        tally.tokens += int(chunk.prepared.lengths[part].sum())
        tally.padded += chunk.padded(part)
    elif ended.tokens is not None:
        tally.tokens += ended.tokens
    else:
        tally.told = False


def _after(exc: Exception, chunk: Chunk, part: np.ndarray, provider: Provider) -> list[np.ndarray]:
    """What is to be tried again after a batch failed."""
    known = exc if isinstance(exc, BatchFailed) else BatchFailed(said(exc))
    if known.then == "split" and len(part) > 1:
        padded = chunk.padded(part)
        # Of texts without a token the budget says nothing.
        if padded and provider.is_out_of_memory(exc):
            # Remembered, so that the same size is not tried again in this run or the next.
            provider.batch_tokens = max(1, min(provider.batch_tokens, padded // 2))
        return [part[len(part) // 2 :], part[: len(part) // 2]]
    for i in chunk.valid[part]:
        chunk.gathered.fail(chunk.first + int(i), known.code, str(known))
    return []


def _keep(chunk: Chunk, part: np.ndarray, vectors: Any) -> None:
    gathered = chunk.gathered
    home = home_of(vectors)
    backend = None if home is None else get_backend(f"{home[0].name}:{home[1]}")
    if backend is None or gathered.rows is not None:
        vectors = np.asarray(vectors if backend is None else backend.to_numpy(vectors))
        backend = None
    if vectors.ndim != 2 or vectors.shape[0] != len(part) or not vectors.shape[1]:
        raise ValueError(f"{len(part)} texts came back as an array of shape {tuple(vectors.shape)}")
    vectors = _float32(vectors)
    indices = chunk.valid[part]
    width = gathered.width.settled(int(vectors.shape[1]))
    if vectors.shape[1] != width:
        for i in indices:
            message = f"its vector has width {vectors.shape[1]}, not {width}"
            gathered.fail(chunk.first + int(i), "DIMENSION_MISMATCH", message)
        return
    # What is no number minus itself is no zero; and only the flags leave a device.
    good = np.isfinite(vectors).all(axis=1) if backend is None else backend.to_numpy((vectors - vectors == 0).all(1))
    for i in indices[~good]:
        gathered.fail(chunk.first + int(i), "INVALID_EMBEDDING", "its vector has a NaN or an infinity")
    gathered.put(indices, vectors, good)


def _float32(vectors: Any) -> Any:
    xp = array_namespace(vectors)
    if xp.isdtype(vectors.dtype, "complex floating"):
        raise TypeError(f"a vector has real numbers, not {vectors.dtype}")
    # What float32 has no room for becomes an infinity, before infinities are looked for.
    with np.errstate(over="ignore"):
        return xp.astype(vectors, xp.float32, copy=False)


def said(exc: BaseException) -> str:
    """An exception in one line."""
    return f"{type(exc).__name__}: {str(exc).strip().partition(chr(10))[0]}"
