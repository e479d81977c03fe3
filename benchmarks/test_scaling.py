"""Workers 1, 2, 4 and 8: real work grows up to the machine's cores, providers that wait grow beyond them.

The workers take turns as contenders do, so the rates are of one load of the machine.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import pytest
import texts
from rounds import contest

import vjaccel as vj

WORKERS = (1, 2, 4, 8)
LATENCY = 0.05
"""Seconds that a provider across a network takes to answer."""


def waiting(batch: list[str]) -> np.ndarray:
    time.sleep(LATENCY)
    return np.ones((len(batch), 8), np.float32)


@pytest.mark.parametrize("model", ["local:all-MiniLM-L6-v2", waiting], ids=["a local model", "a provider that waits"])
def test_embedding_by_workers(benchmark, model: Any) -> None:
    wanted = texts.glosses()[:500]
    with ExitStack() as stack:
        made = {n: stack.enter_context(vj.Embedder(model, workers=n, batch_tokens=512)) for n in WORKERS}
        contest(
            benchmark,
            "scaling",
            {f"vjaccel, {n} workers": partial(embedder.embed, wanted) for n, embedder in made.items()},
            rounds=3,
            work=len(wanted),
        )


def test_topk_by_threads(benchmark, corpus: np.ndarray, queries: np.ndarray) -> None:
    prepared = vj.Corpus(corpus, metric="dot")

    def search(threads: int) -> None:
        vj.set_threads(threads)
        prepared.topk(queries[:100], 10)

    try:
        contest(benchmark, "scaling", {f"vjaccel, {n} threads": partial(search, n) for n in WORKERS}, rounds=5)
    finally:
        vj.set_threads(None)
