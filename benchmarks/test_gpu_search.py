"""Searching, normalizing and comparing on a GPU, data there: bar P12. Each against its library, and the device's limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gpu_devices import SMALL, SPECS, Device, device_of, drawn, sized
from rounds import contest

import vjaccel as vj

ROWS, DIM, K = 1_000_000, 384, 10
ROUNDS = 1 if SMALL else 7


@pytest.fixture(scope="module", params=SPECS)
def device(request: pytest.FixtureRequest) -> Device:
    return device_of(request.param)


@pytest.fixture(scope="module")
def host() -> np.ndarray:
    return drawn(sized(ROWS), DIM)


@pytest.fixture(scope="module")
def rows(device: Device, host: np.ndarray) -> Any:
    """On the device."""
    return device.give(host)


@pytest.mark.parametrize("n_queries", [100] if SMALL else [1, 10, 100, 256, 1000])
def test_topk_of_1m_by_384(benchmark, device: Device, host: np.ndarray, rows: Any, n_queries: int) -> None:
    generator = np.random.default_rng(1)
    near = host[generator.integers(0, len(host), n_queries)]
    queries = device.give(near + np.float32(0.02) * generator.standard_normal(near.shape, dtype=np.float32))
    corpora = {"vjaccel": vj.Corpus(rows, metric="dot")} | {
        f"vjaccel {scan}": vj.Corpus(rows, metric="dot", scan=scan) for scan in device.scans
    }
    found = {name: device.backend.to_numpy(corpus.topk(queries, K).indices) for name, corpus in corpora.items()}
    contest(
        benchmark,
        "P12",
        {
            **{name: device.timed(lambda c=corpus: c.topk(queries, K)) for name, corpus in corpora.items()},
            f"{device.backend.name}'s own": device.timed(lambda: device.topk(queries, rows, K)),
            "limit: float32 product": device.timed(lambda: device.product(queries, rows)),
            "limit: copy": device.timed(lambda: device.copy(rows)),
        },
        rounds=ROUNDS,
        work=n_queries,
    )
    benchmark.extra_info["ids_equal"] = all((x == found["vjaccel"]).all() for x in found.values())


def test_normalize_1m_by_384(benchmark, device: Device, rows: Any) -> None:
    contest(
        benchmark,
        "P12",
        {
            "vjaccel": device.timed(lambda: vj.normalize(rows)),
            f"{device.backend.name}'s own": device.timed(lambda: device.normalized(rows)),
            "limit: copy": device.timed(lambda: device.copy(rows)),
        },
        rounds=ROUNDS,
    )


@pytest.mark.parametrize(("metric", "shape"), [("cosine", (4000, 100_000)), ("euclidean", (4000, 100_000)),
                                               ("manhattan", (1000, 20_000))])  # fmt: skip
def test_distance(benchmark, device: Device, host: np.ndarray, metric: str, shape: tuple[int, int]) -> None:
    n, m = (min(sized(x), len(host)) for x in shape)
    left, right = host[:n], host[-m:]
    a, b = device.give(left), device.give(right)
    contenders = {
        "vjaccel": device.timed(lambda: vj.distance(a, b, metric=metric)),
        "limit: float32 product": device.timed(lambda: device.product(a, b)),
    }
    if metric != "cosine" and (torch := pytest.importorskip("torch")):
        place = "cuda" if "gpu" in device.spec else "cpu"
        peers = [torch.from_numpy(x).to(place) for x in (left, right)]
        power = {"euclidean": 2.0, "manhattan": 1.0}[metric]

        def peer() -> None:
            torch.cdist(*peers, p=power)
            if place == "cuda":
                torch.cuda.synchronize()

        contenders["torch.cdist"] = peer
    contest(benchmark, "P12", contenders, rounds=ROUNDS, work=n * m)
