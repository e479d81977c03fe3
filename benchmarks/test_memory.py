"""How much memory a large search takes beyond its inputs and its output: bar P9, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from rounds import contest

SEARCH = """
import sys
import numpy as np
import vjaccel as vj
from vjaccel.arrays.testing.memory import peak_bytes
metric = sys.argv[1]
rows = np.random.default_rng(0).standard_normal((1_000_000, 128), dtype=np.float32)
queries = np.random.default_rng(1).standard_normal((10_000, 128), dtype=np.float32)
vj.topk(queries[:20], rows[:1000], metric=metric)  # libraries and kernels are loaded
found = []
grown = peak_bytes(lambda: found.append(vj.topk(queries, rows, 10, metric=metric)))
print((grown - sum(x.nbytes for x in found[0])) / 1e6 if grown is not None else "")
"""


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_10k_queries_of_1m_by_128(benchmark, metric: str) -> None:
    printed: list[str] = []

    def search() -> None:
        done = subprocess.run([sys.executable, "-c", SEARCH, metric], check=True, capture_output=True, text=True)
        printed.append(done.stdout.strip())

    contest(benchmark, "P9", {"vjaccel": search}, rounds=1, warmup=0)
    measured = [float(megabytes) for megabytes in printed if megabytes]
    benchmark.extra_info["beyond_mb"] = round(max(measured), 1) if measured else None
