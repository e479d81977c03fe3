"""The stages of a run: plain functions over a chunk of texts, and the objects that gather what they find.

A chunk goes through `prepared` (check, tokenise), `planned` (cut into batches) and, batch by batch, `embedded`. None of them
knows a thread or a loop; what several threads write to holds a lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.dispatch import home_of
from vjaccel.arrays.protocol import Backend
from vjaccel.arrays.registry import get_backend
from vjaccel.embedding.batches import Batch, Cutter, tuned
from vjaccel.embedding.devices import Device
from vjaccel.embedding.gathered import Gathered
from vjaccel.embedding.lookup import Lookup
from vjaccel.embedding.planner import batch_cost, plan
from vjaccel.embedding.providers.protocol import BatchFailed, DeviceFailed, Prepared, Provider, Reply
from vjaccel.embedding.result import DeviceStatistics
from vjaccel.embedding.tally import ByDevice, Tally
from vjaccel.embedding.width import Contradicted, Width
from vjaccel.embedding.window import Window
from vjaccel.errors import ProviderRefused
from vjaccel.telemetry import BatchEnded, Recording

__all__ = [
    "Chunk",
    "Interrupted",
    "Known",
    "cutter_of",
    "embedded",
    "left_over",
    "planned",
    "prepared",
    "prepared_alone",
    "said",
]

NO_NUMBER = "its vector has a NaN or an infinity"


class Interrupted(Exception):
    """A device has failed before all of a batch was done.

    Attributes
    ----------
    left : ndarray of int64
        The places, among the prepared texts, of those that it has not done.
    reason : BaseException
        What it has failed with.
    """

    def __init__(self, left: np.ndarray, failed: DeviceFailed) -> None:
        super().__init__(str(failed))
        self.left = left
        self.reason: BaseException = failed.__cause__ or failed


class Known(NamedTuple):
    """What a run knows of texts before it embeds them: those that were there, and a cache."""

    window: Window | None
    lookup: Lookup | None


@dataclass
class Chunk:
    """Some texts of a run; `valid` are the places of those that were prepared."""

    texts: Sequence[Any]
    valid: np.ndarray
    prepared: Prepared
    gathered: Gathered

    def padded(self, part: np.ndarray) -> int:
        """What the prepared texts `part` hold together, padded to the longest of them."""
        return int(self.prepared.lengths[part].max()) * len(part)


def prepared(
    texts: Sequence[Any], prompt: str, provider: Provider, gathered: Gathered, known: Known, *, last: bool
) -> Chunk:
    """Set aside what is no text, what was there before and what is cached, and have the provider tokenise the rest."""
    valid = [i for i, text in enumerate(texts) if isinstance(text, str)]
    if len(valid) < len(texts):
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                gathered.fail(i, "INVALID_TEXT", f"a text is a str, not {type(text).__name__}")
    if known.window is not None:
        valid = known.window.distinct(texts, valid, gathered, last=last)
    if known.lookup is not None and valid:
        valid = known.lookup.missing(texts, valid, gathered)
    gathered.tally.texts = len(texts)
    chunk = _tokenised(valid, texts, prompt, provider, gathered, known.lookup)
    gathered.set_aside = len(gathered.errors) + gathered.looked_up
    gathered.recording.prepared(len(texts))
    return chunk


def prepared_alone(texts: Sequence[str], prompt: str, provider: Provider) -> Chunk:
    """Texts as the provider wants them, for nobody to gather their vectors."""
    nobody = Gathered(0, len(texts), Width(None), None, Recording("", 1))
    return _tokenised(list(range(len(texts))), texts, prompt, provider, nobody, None)


def left_over(
    texts: Sequence[Any], prompt: str, provider: Provider, gathered: Gathered, known: Known, stop: threading.Event
) -> Chunk | None:
    """What of a chunk another run was to embed, and has not."""
    places = [] if known.lookup is None else known.lookup.waited(gathered, stop)
    return _tokenised(places, texts, prompt, provider, gathered, known.lookup) if places else None


def _tokenised(
    valid: list[int], texts: Sequence[Any], prompt: str, provider: Provider, gathered: Gathered, lookup: Lookup | None
) -> Chunk:
    parts = _prepared(valid, texts, prompt, provider, gathered) if valid else []
    whole = parts[0][1] if len(parts) == 1 else _joined([part for _, part in parts])
    tally = gathered.tally
    tally.counted = tally.counted and whole.counted
    tally.cuts_known = tally.cuts_known and (whole.counted or whole.whole)
    tally.truncated += int((whole.lost > 0).sum())
    tally.tokens_lost += int(whole.lost.sum())
    gathered.recording.cut_off(int((whole.lost > 0).sum()), int(whole.lost.sum()), known=whole.counted or whole.whole)
    chunk = Chunk(texts, np.array([i for places, _ in parts for i in places], np.int64), whole, gathered)
    if whole.counted and len(chunk.valid):
        gathered.of_length(chunk.valid, whole.lengths)
    if whole.chunks is not None:
        gathered.cut_into(chunk.valid, whole.chunks)
    if lookup is not None and len(chunk.valid) < len(valid):
        # Nobody is to wait to this run's end for what will not be embedded.
        lookup.release(gathered, set(valid) - set(chunk.valid.tolist()))
    return chunk


def _joined(parts: list[Prepared]) -> Prepared:
    chunks = [part.chunks for part in parts if part.chunks is not None]
    return Prepared(
        [item for part in parts for item in part.items],
        np.concatenate([np.empty(0, np.int64), *(part.lengths for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.lost for part in parts)]),
        all(part.counted for part in parts),
        np.concatenate(chunks) if chunks else None,
        whole=all(part.whole for part in parts),
        at_most=all(part.at_most for part in parts),
    )


def _prepared(
    places: list[int], texts: Sequence[Any], prompt: str, provider: Provider, gathered: Gathered
) -> list[tuple[list[int], Prepared]]:
    """The texts at `places` in as few parts as can be prepared: one, but for a text that the tokenizer will not take."""
    try:
        return [_accepted(places, provider.prepare([texts[i] for i in places], prompt), gathered)]
    except Exception as exc:
        if len(places) == 1:
            gathered.fail(places[0], "INVALID_TEXT", said(exc))
            return []
    half = len(places) // 2
    return [
        *_prepared(places[:half], texts, prompt, provider, gathered),
        *_prepared(places[half:], texts, prompt, provider, gathered),
    ]


def _accepted(places: list[int], found: Prepared, gathered: Gathered) -> tuple[list[int], Prepared]:
    """What was prepared, without the texts that are too long where that is an error."""
    if not found.refused:
        return places, found
    for i, why in found.refused.items():
        gathered.fail(places[i], "TOKEN_LIMIT_EXCEEDED", why)
    kept = [i for i in range(len(places)) if i not in found.refused]
    chunks = None if found.chunks is None else found.chunks[kept]
    items = [found.items[i] for i in kept]
    return [places[i] for i in kept], Prepared(
        items, found.lengths[kept], found.lost[kept], found.counted, chunks, whole=found.whole, at_most=found.at_most
    )


def planned(chunk: Chunk, device: Device) -> Iterable[Batch]:
    """The batches of a chunk, with the provider's budget, or cut as they are asked for, with those of a tuner."""
    provider = device.provider
    if device.tuner is not None:
        return tuned(chunk.prepared.lengths, provider.batch_texts, device.tuner)
    places = np.arange(len(chunk.prepared.items))
    return [Batch(places) for places in _batches(chunk, places, provider, provider.batch_tokens)]


def cutter_of(chunk: Chunk, device: Device) -> Cutter:
    """What cuts a chunk into batches as they are asked for, made ready for the first one on `device`."""
    known = chunk.prepared
    if device.tuner is None:
        return Cutter(known.lengths, device.provider.batch_texts, counted=known.counted, ahead=None)
    return Cutter(known.lengths, device.provider.batch_texts)


def _batches(chunk: Chunk, some: np.ndarray, provider: Provider, budget: int) -> list[np.ndarray]:
    # Characters tell too little of what a model pads, and what a remote one charges for a batch, to cut finely.
    cost = batch_cost(budget) if chunk.prepared.counted else None
    batches = plan(chunk.prepared.lengths[some], budget, provider.batch_texts, cost)
    return [some[batch] for batch in batches]


def embedded(
    chunk: Chunk,
    batch: Batch,
    prompt: str,
    device: Device,
    lookup: Lookup | None,
    stopped: Callable[[], bool],
) -> int:
    """Embed one batch on a device, and say how many texts that were.

    What fails is tried again in halves, so that one bad text costs one error and not its batch; a failure that every batch
    would share is raised. Nothing is begun once it is `stopped`.

    Raises
    ------
    Interrupted
        The device has failed.
    """
    tally, waiting, again = chunk.gathered.tally, deque([batch.places]), set[int]()
    provider, tuner = device.provider, device.tuner
    while waiting and not stopped():
        part = waiting.pop()
        most = device.most
        if len(part) > 1 and chunk.padded(part) > most:
            # Memory ran out since this was planned.
            waiting.extend(_batches(chunk, part, provider, most))
            continue
        budget = most if batch.lesson is None else batch.lesson.budget
        attempts = chunk.gathered.recording.batch_began(budget, device.name)
        settled = 0
        reply, failed, began = Reply(None), None, time.perf_counter()
        try:
            with attempts:
                found = provider.embed([chunk.prepared.items[i] for i in part], prompt)
            reply = found if isinstance(found, Reply) else Reply(found)
            bad = _keep(chunk, part, reply, batch)
            # Not before: what a GPU was asked for it may only now have done.
            took = time.perf_counter() - began - reply.waited
        except Exception as exc:
            failed = exc
            took = time.perf_counter() - began
        else:
            if tuner is not None and batch.lesson is not None and part is batch.places:
                tuner.learn(batch.lesson, int(chunk.prepared.lengths[part].sum()), took)
            indices = chunk.valid[part]
            good = chunk.gathered.ok[indices]
            if lookup is not None and good.any():
                lookup.keep(chunk.gathered, indices[good], _on_host(chunk.gathered, indices, good, reply.vectors))
            chunk.gathered.acknowledge(indices[good])
            settled = int(good.sum())
            # What came back wrong once may be right alone; twice, it is the text's or the model's.
            waiting.extend(part[i : i + 1] for i in bad if int(part[i]) not in again)
            for i, why in bad.items():
                if int(part[i]) in again:
                    chunk.gathered.fail(int(chunk.valid[part[i]]), *why)
            again.update(int(part[i]) for i in bad)
        with chunk.gathered.lock:
            ended = _count(tally, chunk, part, failed or reply, took, budget)._replace(device=device.name)
            if device.name and not ended.failed:
                did = DeviceStatistics(ended.texts, 1, ended.tokens, took)
                tally.devices += ByDevice({device.name: did})
        lengths = chunk.prepared.lengths[part] if chunk.prepared.counted else None
        chunk.gathered.recording.batch_ended(ended, lengths, attempts)
        chunk.gathered.recording.settled("embedded", settled)
        if failed is not None:
            if isinstance(failed, DeviceFailed):
                left = np.concatenate([part, *waiting])
                if lookup is not None:
                    lookup.release(chunk.gathered, chunk.valid[np.setdiff1d(batch.places, left)].tolist())
                raise Interrupted(left, failed) from failed
            if isinstance(failed, BatchFailed) and failed.then == "stop":
                raise failed.__cause__ or failed
            rest = _after(failed, chunk, part, device)
            if isinstance(failed, BatchFailed) and failed.then == "apart":
                # Behind the others: that one of them is answered tells the text from the endpoint.
                waiting.extendleft(reversed(rest))
            else:
                waiting.extend(rest)
    if lookup is not None:
        lookup.release(chunk.gathered, chunk.valid[batch.places].tolist())
    return len(batch.places)


def _count(
    tally: Tally, chunk: Chunk, part: np.ndarray, ended: Reply | Exception, took: float, budget: int
) -> BatchEnded:
    retries, waited = (ended.retries, ended.waited) if isinstance(ended, Reply | BatchFailed) else (0, 0.0)
    tally.batches += 1
    tally.retries += retries
    tally.waited += waited
    if not isinstance(ended, Reply):
        paid = ended.tokens if isinstance(ended, BatchFailed) else 0
        tally.tokens += paid
        return BatchEnded(len(part), paid or None, None, took, waited, retries, budget, failed=True)
    tokens, padded = ended.tokens, None
    if chunk.prepared.counted:
        tokens = int(chunk.prepared.lengths[part].sum())
        padded = chunk.padded(part) if ended.padded is None else ended.padded
        tally.padded += padded
    tally.tokens += tokens or 0
    tally.told = tally.told and tokens is not None
    return BatchEnded(len(part), tokens, padded, took, waited, retries, budget, failed=False)


def _after(exc: Exception, chunk: Chunk, part: np.ndarray, device: Device) -> list[np.ndarray]:
    """What is to be tried again after a batch failed."""
    known = exc if isinstance(exc, BatchFailed) else BatchFailed(said(exc))
    if known.then == "apart" and len(part) == 1:
        return [part]
    if known.then in ("split", "apart") and len(part) > 1:
        padded = chunk.padded(part)
        # Of texts without a token the budget says nothing.
        if padded and device.provider.is_out_of_memory(exc):
            device.ran_out(padded)
        return [part[len(part) // 2 :], part[: len(part) // 2]]
    for i in chunk.valid[part]:
        chunk.gathered.fail(int(i), known.code, str(known))
    return []


def _keep(chunk: Chunk, part: np.ndarray, reply: Reply, batch: Batch) -> dict[int, tuple[str, str]]:
    """Put the vectors of a batch in their places; of those that are none, the code and message of the error that makes."""
    gathered, vectors = chunk.gathered, reply.vectors
    home = home_of(vectors)
    backend = None if home is None else get_backend(f"{home[0].name}:{home[1]}")
    if backend is None or gathered.rows is not None:
        vectors = np.asarray(vectors if backend is None else backend.to_numpy(vectors))
        backend = None
    if vectors.ndim != 2 or vectors.shape[0] != len(part) or not vectors.shape[1]:
        raise ValueError(f"{len(part)} texts came back as an array of shape {tuple(vectors.shape)}")
    vectors = _float32(vectors)
    indices = chunk.valid[part]
    if not _agreed(gathered.width, int(vectors.shape[1]), batch):
        for i in indices:
            message = f"its vector has width {vectors.shape[1]}, not {gathered.width.known}"
            gathered.fail(int(i), "DIMENSION_MISMATCH", message)
        return {}
    good, why = _checked(vectors, backend)
    good[[*reply.unusable]] = False
    gathered.put(indices, vectors, good)
    bad = np.flatnonzero(~good).tolist()
    return {i: reply.unusable.get(i) or ("INVALID_EMBEDDING", why(i)) for i in bad}


def _agreed(width: Width, seen: int, batch: Batch) -> bool:
    try:
        return width.agrees(seen, batch)
    except Contradicted as exc:
        refused = ProviderRefused(
            f"{exc}: a model gives one width, so that one of them is not this model's; check what answers, and whether the "
            "cache is of another model"
        )
        raise BatchFailed(str(refused), then="stop") from refused


def _on_host(gathered: Gathered, indices: np.ndarray, good: np.ndarray, vectors: Any) -> np.ndarray:
    """The good ones of a batch's vectors as NumPy's, float32."""
    if gathered.rows is not None:
        there: np.ndarray = gathered.rows.made(0)[gathered.start + indices[good]]
        return there
    home = home_of(vectors)
    array = np.asarray(vectors if home is None else get_backend(f"{home[0].name}:{home[1]}").to_numpy(vectors))
    kept: np.ndarray = _float32(array)[good]
    return kept


def _checked(vectors: Any, backend: Backend | None) -> tuple[np.ndarray, Callable[[int], str]]:
    """Which vectors can be kept, and of the others why not."""
    if backend is None:
        # One pass tells of nearly all: a sum of squares is a number above zero unless something is wrong, or is very large or
        # small.
        squares = np.einsum("ij,ij->i", vectors, vectors)
        good = (squares > 0) & (squares < np.inf)
        if not good.all():
            good = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        return good, lambda i: "its vector is zero" if np.isfinite(vectors[i]).all() else NO_NUMBER
    # What is no number minus itself is no zero; and only the flags leave a device.
    finite = backend.to_numpy((vectors - vectors == 0).all(1))
    return finite & backend.to_numpy((vectors != 0).any(1)), lambda i: "its vector is zero" if finite[i] else NO_NUMBER


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
