"""A collection five times as large as what may be held is searched within that, with the answers of an array."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lance", reason="the extra store is not installed")

LIMIT = 32 << 20

# In a process of its own: the peak is the whole process'.
SEARCHING = """
import sys
import numpy as np
import vjaccel as vj
from vjaccel.arrays.testing.memory import peak_bytes
folder, limit = sys.argv[1], int(sys.argv[2])
dim = 256
total = 5 * limit // (4 * dim)
col = vj.Collection.open(folder + "/large", dim, create=True, durability="process", memory_limit=limit)
queries = np.random.default_rng(10**6).standard_normal((4, dim), dtype=np.float32)
best = []
for start in range(0, total, 8192):
    rows = np.random.default_rng(start).standard_normal((min(8192, total - start), dim), dtype=np.float32)
    ids = [f"r{i}" for i in range(start, start + len(rows))]
    col.insert(ids, rows, [{"half": i % 2} for i in range(len(rows))])
    scores = vj.similarity(queries, rows)
    best += [(q, float(scores[q, i]), ids[i]) for q in range(4) for i in np.argsort(-scores[q])[:5]]
small = vj.Collection.open(folder + "/small", dim, create=True, memory_limit=0)
small.insert(ids, rows, [{"half": 0}] * len(rows))
small.search(queries, 5)  # libraries are loaded
small.search(queries, 5, where="half = 0")
small.similarity(queries)
found, scores = [], []
grown = [peak_bytes(lambda: found.append(col.search(queries, 5, where=where))) for where in (None, "half = 1")]
grown.append(peak_bytes(lambda: scores.append(col.similarity(queries))))
for q in range(4):
    expected = [name for _, _, name in sorted((x for x in best if x[0] == q), key=lambda x: -x[1])[:5]]
    assert [hit.id for hit in found[0][q]] == expected, (found[0][q], expected)
assert scores[0].ids == tuple(f"r{i}" for i in range(total))
for q, score, name in best:
    assert abs(scores[0].values[q, int(name[1:])] - score) < 1e-6
assert {hit.metadata["half"] for hits in found[1] for hit in hits} == {1}
print(*grown)
"""


def test_a_search_and_a_similarity_beyond_the_limit_stay_within_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEARCHING, str(tmp_path), str(LIMIT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    grown = done.stdout.split()
    if "None" in grown:
        pytest.skip("this system does not say how much memory a process had at most")
    assert max(map(int, grown)) <= LIMIT
