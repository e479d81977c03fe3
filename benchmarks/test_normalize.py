"""normalize against the peers, and against a bare copy: bar P2."""

from __future__ import annotations

import numpy as np
import torch
from rounds import contest
from sklearn.preprocessing import normalize

import vjaccel as vj


def test_normalize_200k_by_384(benchmark, corpus: np.ndarray) -> None:
    rows = torch.from_numpy(corpus)
    contest(
        benchmark,
        "P2",
        {
            "vjaccel": lambda: vj.normalize(corpus),
            "numpy": lambda: corpus / np.linalg.norm(corpus, axis=1, keepdims=True),
            "scikit-learn": lambda: normalize(corpus),
            "torch": lambda: torch.nn.functional.normalize(rows),
            "limit: copy": corpus.copy,
        },
    )


def test_normalize_500_by_128(benchmark) -> None:
    rows = np.random.default_rng(0).standard_normal((500, 128), dtype=np.float32)
    contest(
        benchmark,
        "P10",
        {
            "vjaccel": lambda: vj.normalize(rows),
            "numpy": lambda: rows / np.linalg.norm(rows, axis=1, keepdims=True),
        },
        rounds=200,
        work=500,
    )
