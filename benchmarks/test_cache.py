"""Looking vectors up in a warm cache on disk, against a bare loop over LMDB that does no more than it must: bar P5.

The bare loop digests a text, gets all values of a chunk at once, and copies them into an array: no bound, no checksum, no
concern for what is in a key. Both look up a chunk of a run at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import lmdb
import numpy as np
import pytest
import texts
from rounds import contest

from vjaccel.embedding import ModelIdentity
from vjaccel.embedding.cache import CacheKeys, open_cache, rows_of
from vjaccel.embedding.driver import CHUNK

TEXTS, DIM = 20_000, 384
MAP_BYTES = 1 << 30
IDENTITY = ModelIdentity("local", "all-MiniLM-L6-v2", "0" * 64, DIM, "", True, dtype="float32")


@pytest.fixture(scope="module")
def distinct() -> list[str]:
    glosses = texts.glosses()
    return [f"{glosses[i % len(glosses)]} ({i})" for i in range(TEXTS)]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((TEXTS, DIM), dtype=np.float32)


def chunks() -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, TEXTS, CHUNK))


def digests(some: list[str]) -> list[bytes]:
    return [blake2b(text.encode(), digest_size=16).digest() for text in some]


@pytest.mark.parametrize("order", ["as put", "shuffled"])
def test_lookup(benchmark, tmp_path: Path, distinct: list[str], vectors: np.ndarray, order: str) -> None:
    keys = CacheKeys(IDENTITY)
    cache = open_cache(tmp_path / "cache")
    assert cache is not None
    environment = lmdb.open(str(tmp_path / "bare"), map_size=MAP_BYTES)
    for part in chunks():
        cache.put(keys.of(distinct[part]), vectors[part])
        with environment.begin(write=True) as txn:
            txn.cursor().putmulti(zip(digests(distinct[part]), map(bytes, vectors[part]), strict=True))
    order_of = np.arange(TEXTS) if order == "as put" else np.random.default_rng(1).permutation(TEXTS)
    asked = [distinct[i] for i in order_of]
    ours, theirs = np.empty((TEXTS, DIM), np.float32), np.empty((TEXTS, DIM), np.float32)

    def look_up() -> None:
        for part in chunks():
            rows = ours[part]
            hits, found = rows_of(cache.get(keys.of(asked[part])), DIM)
            if len(hits) == len(rows):
                rows[:] = found
            else:
                rows[hits] = found

    def bare() -> None:
        with environment.begin() as txn:
            for part in chunks():
                values = txn.cursor().getmulti(digests(asked[part]))
                theirs[part] = np.frombuffer(b"".join([value for _, value in values]), np.float32).reshape(-1, DIM)

    contest(benchmark, "P5", {"vjaccel": look_up, "bare LMDB": bare}, rounds=15, work=TEXTS)
    np.testing.assert_array_equal(ours, vectors[order_of])
    np.testing.assert_array_equal(theirs, ours)
    best = benchmark.extra_info["best_ms"]
    benchmark.extra_info["bare_share"] = round(best["bare LMDB"] / best["vjaccel"], 2)
    cache.close()
    environment.close()
