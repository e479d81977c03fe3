"""A corpus over all GPUs that there are. Eight devices of a CPU are in tests/conformance; this asks the hardware."""

from __future__ import annotations

import numpy as np
import pytest

import vjaccel as vj
from tests.gpu.truth import best, copied, drawn, near

pytestmark = pytest.mark.gpu

ROWS, DIM, K = 1_000_000, 128, 10


@pytest.fixture
def several(spec: str) -> str:
    """All devices of the backend, as one spec."""
    name, kind = spec.split(":")[:2]
    row = next(row for row in vj.backends() if row.name == name)
    devices = [device for device in row.devices or () if device.startswith(f"{kind}:")]
    if len(devices) < 2:
        pytest.skip(f"{name} sees {len(devices)} GPU here: a corpus is cut over two or more")
    return f"{name}:{kind}:{','.join(device.partition(':')[2] for device in devices)}"


def test_a_corpus_over_all_gpus_is_searched_as_by_float64(several: str) -> None:
    rows = copied(drawn(ROWS, DIM))
    queries = near(rows, np.random.default_rng(0).integers(0, ROWS, 100))
    corpus = vj.Corpus(rows, metric="dot", backend=several)
    np.testing.assert_array_equal(corpus.topk(queries, K).indices, best("dot", queries, rows, K))


def test_changes_over_all_gpus_are_found(several: str) -> None:
    rows, more = drawn(ROWS // 10, DIM), drawn(1000, DIM, seed=7)
    corpus = vj.Corpus(rows, metric="dot", backend=several)
    corpus.add(more)
    corpus.update([5, ROWS // 10 - 1], more[:2])
    corpus.remove([0, ROWS // 20])
    now = np.concatenate([rows, more])
    now[[5, ROWS // 10 - 1]] = more[:2]
    now = np.delete(now, [0, ROWS // 20], axis=0)
    queries = near(now, np.random.default_rng(0).integers(0, len(now), 50))
    np.testing.assert_array_equal(corpus.topk(queries, K).indices, best("dot", queries, now, K))


def test_a_corpus_over_all_gpus_that_stays_on_the_host_is_searched_as_by_float64(several: str) -> None:
    rows = drawn(ROWS, DIM)
    queries = near(rows, np.random.default_rng(0).integers(0, ROWS, 20))
    corpus = vj.Corpus(rows, backend=several, resident=False)
    np.testing.assert_array_equal(corpus.topk(queries, K).indices, best("cosine", queries, rows, K))
