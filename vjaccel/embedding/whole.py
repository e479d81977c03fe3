"""A run over texts that are all there, with one result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vjaccel.arrays.protocol import Backend
from vjaccel.embedding.assembled import on_device, on_host, result_of
from vjaccel.embedding.driver import CHUNK, Run, driven, inline
from vjaccel.embedding.gathered import Gathered, Rows
from vjaccel.embedding.held import Means
from vjaccel.embedding.reading import Reader
from vjaccel.embedding.result import EmbeddingResult, Progress
from vjaccel.embedding.width import Width
from vjaccel.embedding.window import Window
from vjaccel.telemetry import Recording

__all__ = ["whole"]


def whole(
    means: Means,
    items: list[Any],
    prompt: str,
    target: Backend | None,
    out: np.ndarray | None,
    max_errors: int | None,
    progress: Callable[[Progress], object] | None,
    *,
    use_cache: bool,
) -> EmbeddingResult:
    """What `Embedder.embed` gives for `items`, with those in its errors that have failed.

    Parameters
    ----------
    means : Means
    items : list
        What is no text among them fails.
    prompt : str
        Put before each.
    target : Backend or None
        Where the vectors stay, if not on the host.
    out : ndarray or None
        Where they go.
    max_errors, progress, use_cache
        As `Embedder.embed` has them.
    """
    rows = Rows(len(items), out) if target is None else None
    width = means.width if out is None else Width(out.shape[1])
    recording = Recording(means.model, means.held.workers, len(items))

    def gathering(first: int, size: int) -> Gathered:
        return Gathered(first, size, width, rows, recording, first)

    with means.held.run(), means.held.knowing(prompt, Window(), use_cache=use_cache) as known:
        memory = means.held.device_memory
        run = Run(prompt, len(items), recording, progress, known, max_errors, device_memory=memory)
        if len(items) <= CHUNK and means.held.workers == 1:
            chunks = [inline(means.held.devices[0], items, run, gathering)]
        else:
            chunks = list(driven(means.held.devices, Reader(items, CHUNK), run, gathering))
    ok = np.concatenate([np.empty(0, np.bool_), *(chunk.ok for chunk in chunks)])
    if out is not None and ok.any():
        means.width.first(out.shape[1])
    wide, coded = width.known or 0, means.quantizer()
    embeddings = on_host(rows, wide, ok, coded) if target is None else on_device(chunks, ok, wide, target)
    return result_of(embeddings, ok, chunks, run, windowed=means.windowed)
