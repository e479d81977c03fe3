"""Learning the batch size: thirty batches from a bad start, against every fixed budget, on the CPU and on made-up latencies."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import texts
from rounds import contest

import vjaccel as vj
from vjaccel.embedding.batches import tuned
from vjaccel.embedding.learned import remember
from vjaccel.embedding.planner import batch_cost, plan
from vjaccel.embedding.tuner import Learned, Lesson, Tuner, bucket_of, budgets_around

USUAL = 1024
LEARNING = 30
"""Batches that are not counted."""

LATENCIES: dict[str, Callable[[int], float]] = {
    "a start that costs much": lambda tokens: 0.05 + tokens / 6000,
    "a cache that fits 2048 tokens": lambda tokens: 0.01 + tokens / 6000 + max(0, tokens - 2048) / 3000,
    "better the smaller": lambda tokens: 0.001 + tokens / 6000 * (tokens / 64) ** 0.3,
}
"""Seconds of a padded batch, of its tokens."""


def begun_at(budget: int, lengths: np.ndarray) -> Learned:
    """As if an earlier run had seen that budget alone, and at a rate that anything beats."""
    tuner = Tuner(USUAL)
    for bucket in {bucket_of(int(length)) for length in lengths}:
        tuner.learn(Lesson(bucket, budget), 1, 1.0)
    return tuner.learned()


@pytest.mark.parametrize("start", [64, 8192])
@pytest.mark.parametrize("curve", LATENCIES)
def test_a_provider_of_simulated_latency(benchmark, curve: str, start: int) -> None:
    lengths = np.random.default_rng(0).integers(17, 64, 12_000)
    latency, chance = LATENCIES[curve], random.Random(0)

    def seconds(places: np.ndarray) -> float:
        return latency(int(lengths[places].max()) * len(places)) * max(0.5, chance.gauss(1, 0.05))

    def learning() -> float:
        """Seconds of the clock that is made up, for a million tokens, once thirty batches are learned of."""
        tuner, took, tokens = Tuner(USUAL, begun_at(start, lengths)), 0.0, 0
        for number, batch in enumerate(tuned(lengths, None, tuner)):
            needed, size = seconds(batch.places), int(lengths[batch.places].sum())
            if batch.lesson is not None:
                tuner.learn(batch.lesson, size, needed)
            if number >= LEARNING:
                took, tokens = took + needed, tokens + size
        return took / tokens * 1e6

    def fixed(budget: int) -> float:
        return sum(map(seconds, plan(lengths, budget, None, batch_cost(budget)))) / lengths.sum() * 1e6

    found = benchmark.pedantic(learning, rounds=1)
    benchmark.extra_info["bar"] = "tuner"
    benchmark.extra_info["best_ms"] = {"vjaccel": found} | {f"fixed {n}": fixed(n) for n in budgets_around(USUAL)}


@pytest.mark.parametrize("start", [64, 8192])
def test_the_model_on_this_cpu(benchmark, start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VJACCEL_CACHE_DIR", str(tmp_path))
    glosses = texts.glosses()
    some = glosses[:500]
    with ExitStack() as held:

        def embedder(**options: int) -> vj.Embedder:
            return held.enter_context(vj.Embedder("local:all-MiniLM-L6-v2", device="cpu", **options))

        with embedder() as plain:
            lengths = plain.count_tokens(some)
            assert lengths is not None
            remember(str(plain._tuned_as), begun_at(start, lengths))
        learning, batches = embedder(), 0
        assert learning.get_optimal_batch_size() == start
        for at in range(500, len(glosses), 250):
            batches += learning.embed(glosses[at : at + 250]).statistics.batches
            if batches >= LEARNING:
                break
        fixed = {n: embedder(batch_tokens=n) for n in (256, 512, 1024, 2048, 4096)}
        contest(
            benchmark,
            "tuner",
            {"vjaccel": lambda: learning.embed(some)}
            | {f"fixed {n}": lambda one=one: one.embed(some) for n, one in fixed.items()},
            rounds=4,
            work=int(lengths.sum()),
        )
        benchmark.extra_info["learned"] = learning.get_optimal_batch_size()
