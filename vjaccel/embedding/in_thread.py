"""Runs from an event loop: the run is in another thread, and ends with the task that waits for it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from vjaccel.embedding.reading import Awaited
from vjaccel.embedding.result import EmbeddingResult, Progress

__all__ = ["embedded_in_thread", "streamed_in_thread"]


async def embedded_in_thread(
    embed: Callable[..., EmbeddingResult], texts: Iterable[str], options: dict[str, Any]
) -> EmbeddingResult:
    """What `embed` gives for `texts`. When the task is cancelled, the run stops after its next batch."""
    cancelled, progress = threading.Event(), options.pop("progress", None)

    def told(how_far: Progress) -> None:
        if cancelled.is_set():
            raise asyncio.CancelledError
        if progress is not None:
            progress(how_far)

    try:
        return await asyncio.to_thread(embed, texts, progress=told, **options)
    except asyncio.CancelledError:
        cancelled.set()
        raise


async def streamed_in_thread(
    stream: Callable[..., Iterator[EmbeddingResult]],
    texts: Iterable[str] | AsyncIterable[str],
    options: dict[str, Any],
) -> AsyncGenerator[EmbeddingResult]:
    """What `stream` gives for `texts`; an async iterable is read in this loop, another in the stream's thread."""
    loop = asyncio.get_running_loop()
    awaited = Awaited(texts, loop) if isinstance(texts, AsyncIterable) else None
    chunks = stream(texts if awaited is None else awaited, **options)
    # One thread, so that closing waits behind the chunk under way, which a cancelled task leaves running.
    thread = ThreadPoolExecutor(1, thread_name_prefix="vjaccel-stream")
    step = partial(contextvars.copy_context().run, next, chunks, None)
    try:
        while (chunk := await loop.run_in_executor(thread, step)) is not None:
            yield chunk
    finally:
        try:
            if awaited is not None:
                await awaited.stop()
        finally:
            closed = loop.run_in_executor(thread, chunks.close)  # type: ignore[attr-defined]  # it is a generator
            thread.shutdown(wait=False)
            await closed
