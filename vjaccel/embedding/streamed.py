"""A run over texts as they come, with a result for each chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np

from vjaccel.embedding.arguments import OnError
from vjaccel.embedding.assembled import on_host, result_of, settled
from vjaccel.embedding.driver import Run, driven
from vjaccel.embedding.gathered import Gathered, Rows
from vjaccel.embedding.held import Means
from vjaccel.embedding.reading import LiveReader, Reader
from vjaccel.embedding.result import EmbeddingResult, Progress
from vjaccel.embedding.window import Window
from vjaccel.telemetry import Recording

__all__ = ["streamed"]


def streamed(
    means: Means,
    reading: Callable[[], Reader | LiveReader],
    prompt: str,
    window: Window | None,
    max_errors: int | None,
    total: int | None,
    progress: Callable[[Progress], object] | None,
    on_batch: Callable[[np.ndarray, np.ndarray], object] | None,
    on_error: OnError,
    *,
    ordered: bool,
) -> Iterator[EmbeddingResult]:
    """What `Embedder.stream` gives, chunk by chunk.

    Parameters
    ----------
    means : Means
    reading : callable
        Begins to read the texts, when the first result is asked for.
    prompt : str
        Put before each.
    window : Window or None
        Of texts that come again; None where none does.
    max_errors, total, progress, on_batch, on_error, ordered
        As `Embedder.stream` has them.
    """
    with means.held.run(), means.held.knowing(prompt, window) as known:
        recording = Recording(means.model, means.held.workers, total)
        memory = means.held.device_memory
        run = Run(prompt, total, recording, progress, known, max_errors, device_memory=memory)
        quantizer = means.quantizer()

        def gathering(first: int, size: int) -> Gathered:
            return Gathered(first, size, means.width, Rows(size), recording, acknowledged=on_batch)

        with closing(driven(means.held.devices, reading(), run, gathering, ordered=ordered)) as chunks:
            for chunk in chunks:
                given = chunk.rows if window is None else chunk.handed_over()
                rows = on_host(given, means.width.known or 0, chunk.ok, quantizer)
                result = result_of(rows, chunk.ok, [chunk], run, chunk.first, windowed=means.windowed)
                yield settled(result, on_error)
                means.held.check_open()
