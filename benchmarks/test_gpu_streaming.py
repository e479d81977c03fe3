"""A corpus that stays on the host and is sent through a GPU for each search, against what the bus can do: bar P12."""

from __future__ import annotations

import numpy as np
import pytest
from gpu_devices import SMALL, SPECS, device_of, drawn, sized
from rounds import contest

import vjaccel as vj

ROWS, DIM, K = 4_000_000, 384, 10
PART_BYTES = 64 << 20


@pytest.fixture(scope="module")
def host() -> np.ndarray:
    """6 GB; the same rows again and again, which cost as much to send."""
    return np.resize(drawn(sized(200_000), DIM), (sized(ROWS), DIM))


@pytest.mark.parametrize("n_queries", [1] if SMALL else [1, 100])
@pytest.mark.parametrize("spec", SPECS)
def test_topk_of_a_corpus_on_the_host(benchmark, spec: str, host: np.ndarray, n_queries: int) -> None:
    device = device_of(spec)
    queries = drawn(n_queries, DIM, seed=1)
    corpora = {"vjaccel": vj.Corpus(host, metric="dot", backend=spec, resident=False)}
    if "tf32" in device.scans:
        corpora["vjaccel tf32"] = vj.Corpus(host, metric="dot", backend=spec, resident=False, scan="tf32")
    step = PART_BYTES // (4 * DIM)
    send = device.sent([host[start : start + step] for start in range(0, min(len(host), 10 * step), step)])
    sent = min(1.0, 10 * step / len(host))
    contest(
        benchmark,
        "P12",
        {
            **{name: device.timed(lambda c=corpus: c.topk(queries, K)) for name, corpus in corpora.items()},
            "sent whole, then searched": device.timed(
                lambda: vj.Corpus(host, metric="dot", backend=spec, resident=True).topk(queries, K)
            ),
            "limit: a part over the bus": device.timed(send),
        },
        rounds=1 if SMALL else 3,
        work=host.nbytes,
    )
    benchmark.extra_info["part_of_the_bytes"] = sent
    best = benchmark.extra_info["best_ms"]
    benchmark.extra_info["bus_share"] = round(best["limit: a part over the bus"] / sent / best["vjaccel"], 3)
