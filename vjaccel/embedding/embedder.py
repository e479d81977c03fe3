"""Texts into vectors: the run, from top to bottom.

A run reads texts in chunks. While one chunk is embedded by the worker threads, the next is tokenised and its batches wait
behind, so that no worker is idle at a chunk's end; no more than that is held. Results come in the order of the texts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import psutil
from array_api_compat import array_namespace

from vjaccel.arrays.dispatch import move
from vjaccel.arrays.protocol import Backend
from vjaccel.arrays.registry import get_backend
from vjaccel.embedding.providers.protocol import ModelIdentity, ProviderOptions
from vjaccel.embedding.providers.registry import make_provider
from vjaccel.embedding.result import EmbeddingResult, Progress
from vjaccel.embedding.run import Chunk, Gathered, Tally, embedded, planned, prepared
from vjaccel.errors import EmbeddingErrors, InvalidInput

__all__ = ["Embedder"]

OnError = Literal["raise", "collect"]

CHUNK = 4096
"""Texts that are planned together: enough to find neighbours of one length."""


@dataclass
class _Run:
    """What one run holds: its tally, its clock, and whom it tells."""

    prompt: str
    total: int | None
    progress: Callable[[Progress], object] | None
    tally: Tally
    started: float
    done: int = 0

    def advance(self, texts: int) -> None:
        self.done += texts
        if self.progress is not None:
            tokens = self.tally.tokens if self.tally.counted else None
            self.progress(Progress(self.done, self.total, tokens, time.perf_counter() - self.started))


class Embedder:
    """Embeds texts with a local model, anyone's provider, or a function.

    Parameters
    ----------
    model : str or callable
        ``local:NAME``, where NAME is a folder, a model of the hub's cache, ``all-MiniLM-L6-v2`` (packaged: extra ``minilm``) or
        a model of the hub; ``PROVIDER:REST`` for another provider; or a function, async or not, from a list of texts to an
        array (n, dim).
    device : str
        ``auto`` (a GPU if there is one), ``cpu``, ``gpu``, ``gpu:1``, ``mps``.
    dtype : {"auto", "float32", "float16", "bfloat16"}
        What the model computes in; ``auto`` is float32. Vectors are float32.
    workers : int, optional
        Batches at once. By default one for each core on a CPU, one on a GPU.
    batch_tokens : int, optional
        Tokens of one batch, padding included.
    dimensions : int, optional
        Keep this many leading numbers of each vector (Matryoshka), normalized again if they were.
    prompt : str, optional
        Put before every text; by default the model's own for no particular role.
    normalize : bool, optional
        True: vectors of norm one. False: without the model's own normalizing. By default what the model does.
    revision : str, optional
        Of a model of the hub.
    trust_remote_code : bool
        Run code that comes with the model.
    allow_pickle : bool
        Load weights that are pickled, which can run any code.

    Raises
    ------
    UnknownProvider, ModelUnavailable, MissingExtra, BackendUnavailable, InvalidInput, InvalidType

    Examples
    --------
    >>> import vjaccel as vj
    >>> with vj.Embedder("local:all-MiniLM-L6-v2") as embedder:  # doctest: +SKIP
    ...     embedder.embed(["melt butter"]).embeddings.shape
    (1, 384)
    """

    def __init__(
        self,
        model: str | Callable[..., Any] = "local:all-MiniLM-L6-v2",
        *,
        device: str = "auto",
        dtype: str = "auto",
        workers: int | None = None,
        batch_tokens: int | None = None,
        dimensions: int | None = None,
        prompt: str | None = None,
        normalize: bool | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
    ) -> None:
        for name, value in (("workers", workers), ("batch_tokens", batch_tokens), ("dimensions", dimensions)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InvalidInput(f"{name} must be a whole number of at least 1, not {value!r}")
        options = ProviderOptions(
            device, dtype, workers, batch_tokens, dimensions, normalize, revision, trust_remote_code, allow_pickle
        )
        self._provider = make_provider(model, options)
        self._prompt = prompt
        self._closed = False

    # What it is

    @property
    def identity(self) -> ModelIdentity:
        """What determines the vectors that `embed` gives."""
        return self._provider.identity(self._prompt_for(None, None))

    @property
    def dim(self) -> int | None:
        """The width of a vector; None where only the first vector will tell."""
        return self.identity.dimensions

    def prompt_for(self, role: Literal["query", "document"] | None) -> str:
        """What is put before texts of a role: this embedder's own prompt, or the model's for that role; may be empty."""
        return self._provider.prompt(role) if self._prompt is None else self._prompt

    def count_tokens(self, texts: Iterable[str], *, prompt: str | None = None) -> np.ndarray | None:
        """Tokens of each text as the model will see them, int64 (n,); None where nobody can count them.

        Raises
        ------
        InvalidInput
            `texts` is one text.
        """
        ready = self._provider.prepare(list(_checked(texts)), self._prompt_for(None, prompt))
        return ready.lengths if ready.counted else None

    # Embedding

    def embed(
        self,
        texts: Iterable[str],
        *,
        prompt: str | None = None,
        on_error: OnError = "raise",
        backend: str | Backend | None = None,
        out: np.ndarray | None = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> EmbeddingResult:
        """Embed all of `texts`.

        Parameters
        ----------
        texts : iterable of str
            An empty text is embedded as the model does; what is no text is that item's error.
        prompt : str, optional
            Instead of the embedder's own.
        on_error : {"raise", "collect"}
            When some texts fail: raise at the end, with the whole result, or return it.
        backend : str or Backend, optional
            Leave the vectors on this backend's device, as its arrays; otherwise they are NumPy.
        out : ndarray or memmap, shape (n, dim), float32, optional
            Written to, and the result's `embeddings`.
        progress : callable, optional
            Called with a `Progress` after each batch.

        Returns
        -------
        EmbeddingResult

        Raises
        ------
        EmbeddingErrors
            Some texts failed; its `result` has all the others.
        InvalidInput
            `texts` is one text, `out` has another shape, or the embedder is closed.
        """
        items = list(_checked(texts))
        target = None if backend is None else get_backend(backend) if isinstance(backend, str) else backend
        if out is not None and (target is not None or out.shape[:1] != (len(items),) or out.dtype != np.float32):
            raise InvalidInput(
                f"out is a float32 array of {len(items)} rows on the host; it has {out.dtype} {out.shape}"
            )
        prompt = self._prompt_for(None, prompt)
        dim = self._provider.identity(prompt).dimensions
        run = _Run(prompt, len(items), progress, Tally(), time.perf_counter())
        chunks = [chunk.gathered for chunk in self._chunks(items, CHUNK, run, out, on_device=target is not None)]
        ok = np.concatenate([np.empty(0, np.bool_), *(chunk.ok for chunk in chunks)])
        errors = sorted((error for chunk in chunks for error in chunk.errors), key=lambda error: error.index)
        dim = next((chunk.dim for chunk in chunks if chunk.dim), dim) or 0
        embeddings = _joined(chunks, dim, out) if target is None else _on_device(chunks, dim, target)
        statistics = run.tally.statistics(time.perf_counter() - run.started)
        return _settled(EmbeddingResult(embeddings, ok, tuple(errors), statistics), on_error)

    def embed_query(self, texts: str | Iterable[str], **options: Any) -> EmbeddingResult:
        """As `embed`, one text or many, with the model's own prompt for queries."""
        return self._embed_as("query", texts, options)

    def embed_document(self, texts: str | Iterable[str], **options: Any) -> EmbeddingResult:
        """As `embed`, one text or many, with the model's own prompt for documents (passages)."""
        return self._embed_as("document", texts, options)

    def stream(
        self,
        texts: Iterable[str],
        *,
        chunk_size: int = CHUNK,
        prompt: str | None = None,
        on_error: OnError = "raise",
        progress: Callable[[Progress], object] | None = None,
    ) -> Iterator[EmbeddingResult]:
        """Embed an iterable of any length in constant memory: a result for each `chunk_size` texts, in their order.

        Up to three chunks are read ahead of the one that is given out. An iterator that is closed or dropped stops what
        runs, and leaves no thread. Parameters and errors are those of `embed`; with ``on_error="raise"`` the first chunk with
        a failure raises. Indices in errors count over the whole stream.
        """
        if not isinstance(chunk_size, int) or chunk_size < 1:
            raise InvalidInput(f"chunk_size must be a whole number of at least 1, not {chunk_size!r}")
        self._open()
        return self._streamed(_checked(texts), chunk_size, self._prompt_for(None, prompt), on_error, progress)

    async def aembed(self, texts: Iterable[str], **options: Any) -> EmbeddingResult:
        """`embed`, without blocking the event loop."""
        return await asyncio.to_thread(self.embed, texts, **options)

    async def astream(self, texts: Iterable[str], **options: Any) -> AsyncIterator[EmbeddingResult]:
        """`stream`, without blocking the event loop."""
        chunks = self.stream(texts, **options)
        try:
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield chunk
        finally:
            await asyncio.to_thread(chunks.close)  # type: ignore[attr-defined]  # it is a generator

    # Holding and letting go

    def close(self) -> None:
        """Let go of the model. Closing twice is fine; embedding afterwards is an error."""
        if not self._closed:
            self._closed = True
            self._provider.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The driver

    def _chunks(
        self, texts: Iterable[Any], size: int, run: _Run, out: np.ndarray | None, *, on_device: bool
    ) -> Iterator[Chunk]:
        """Chunks, in order, each when all its batches are done."""
        self._open()
        provider = self._provider
        dim = provider.identity(run.prompt).dimensions
        memory = psutil.Process()
        reader = iter(texts)
        ahead: deque[tuple[Future[Chunk], list[Future[None]]]] = deque()
        read = 0
        preparing = ThreadPoolExecutor(1, thread_name_prefix="vjaccel-prepare")
        workers = ThreadPoolExecutor(provider.workers, thread_name_prefix="vjaccel-embed", initializer=provider.started)
        try:
            preparing_next: Future[Chunk] | None = None
            while True:
                items = list(islice(reader, size))
                if items:
                    rows = None if out is None else out[read : read + len(items)]
                    gathered = Gathered(len(items), dim, on_device, rows)
                    following = preparing.submit(prepared, items, read, run.prompt, provider, gathered, run.tally)
                    read += len(items)
                else:
                    following = None
                if preparing_next is not None:
                    chunk = preparing_next.result()
                    batches = planned(chunk, provider)
                    task = partial(embedded, chunk, prompt=run.prompt, provider=provider, tally=run.tally)
                    ahead.append((preparing_next, [workers.submit(task, batch) for batch in batches]))
                preparing_next = following
                while ahead and (len(ahead) > 1 or following is None):
                    yield self._finished(*ahead.popleft(), run)
                    run.tally.peak_memory_bytes = max(run.tally.peak_memory_bytes, memory.memory_info().rss)
                if following is None:
                    return
        finally:
            preparing.shutdown(wait=True, cancel_futures=True)
            workers.shutdown(wait=True, cancel_futures=True)
            provider.ended()

    @staticmethod
    def _finished(ready: Future[Chunk], batches: list[Future[None]], run: _Run) -> Chunk:
        chunk = ready.result()
        run.advance(chunk.gathered.size - len(chunk.valid))
        share = len(chunk.valid) / max(len(batches), 1)
        for count, batch in enumerate(as_completed(batches), 1):
            batch.result()
            run.advance(round(share * count) - round(share * (count - 1)))
        run.tally.failed += len(chunk.gathered.errors)
        return chunk

    def _streamed(
        self,
        texts: Iterable[Any],
        size: int,
        prompt: str,
        on_error: OnError,
        progress: Callable[[Progress], object] | None,
    ) -> Iterator[EmbeddingResult]:
        run = _Run(prompt, None, progress, Tally(), time.perf_counter())
        for chunk in self._chunks(texts, size, run, None, on_device=False):
            gathered = chunk.gathered
            errors = tuple(sorted(gathered.errors, key=lambda error: error.index))
            statistics = run.tally.statistics(time.perf_counter() - run.started)
            rows = _joined([gathered], gathered.dim or 0, None)
            yield _settled(EmbeddingResult(rows, gathered.ok, errors, statistics), on_error)

    def _embed_as(
        self, role: Literal["query", "document"], texts: str | Iterable[str], options: dict[str, Any]
    ) -> EmbeddingResult:
        prompt = options.pop("prompt", None)
        return self.embed(
            [texts] if isinstance(texts, str) else texts, prompt=self._prompt_for(role, prompt), **options
        )

    def _prompt_for(self, role: Literal["query", "document"] | None, prompt: str | None) -> str:
        return self.prompt_for(role) if prompt is None else prompt

    def _open(self) -> None:
        if self._closed:
            raise InvalidInput("this embedder is closed; make another")


def _checked(texts: Iterable[Any]) -> Iterable[Any]:
    if isinstance(texts, str | bytes):
        raise InvalidInput("texts is one text; give a list of texts, or call embed_query or embed_document")
    if not isinstance(texts, Iterable):
        raise InvalidInput(f"texts is an iterable of str, not {type(texts).__name__}")
    return texts


def _joined(chunks: list[Gathered], dim: int, out: np.ndarray | None) -> np.ndarray:
    if out is not None:
        for chunk, rows in zip(chunks, np.split(out, np.cumsum([chunk.size for chunk in chunks])[:-1]), strict=True):
            rows[~chunk.ok] = np.nan
        return out
    parts = [np.full((c.size, dim), np.nan, np.float32) if c.rows is None else c.rows for c in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty((0, dim), np.float32), *parts])


def _on_device(chunks: list[Gathered], dim: int, target: Backend) -> Any:
    """The vectors of all chunks in the texts' order, put together where they are, then handed to the backend."""
    size = sum(chunk.size for chunk in chunks)
    firsts = np.cumsum([0, *(chunk.size for chunk in chunks)])
    parts = [(indices + first, x) for chunk, first in zip(chunks, firsts, strict=False) for indices, x in chunk.parts]
    ok = np.concatenate([np.empty(0, np.bool_), *(chunk.ok for chunk in chunks)])
    if not parts:
        return target.asarray(np.full((size, dim), np.nan, np.float32))
    vectors = [move(x, target) for _, x in parts]
    xp = array_namespace(vectors[0])
    places = np.full(size, 0, np.int64)
    places[np.concatenate([indices for indices, _ in parts])] = np.arange(sum(len(indices) for indices, _ in parts))
    joined = xp.take(xp.concat([xp.astype(x, xp.float32) for x in vectors]), target.asarray(places), axis=0)
    return joined if ok.all() else xp.where(target.asarray(ok)[:, None], joined, xp.nan)


def _settled(result: EmbeddingResult, on_error: OnError) -> EmbeddingResult:
    if on_error not in ("raise", "collect"):
        raise InvalidInput(f"on_error is 'raise' or 'collect', not {on_error!r}")
    if result.errors and on_error == "raise":
        raise EmbeddingErrors(result)
    return result
