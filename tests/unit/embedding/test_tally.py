"""What was counted as a run went is told alike by its statistics and by its recording, which outlives whoever wrote it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import fields

import numpy as np

import vjaccel as vj
from tests.unit.embedding.tiny_models import LONGEST, Tiny
from vjaccel.embedding import BatchFailed, Reply
from vjaccel.embedding.tally import Tally
from vjaccel.telemetry import Recording

MEASURED = {
    "started",
    "ended",
    "seconds",
    "peak_memory_bytes",
    "cpu_seconds",
    "latency_p50",
    "latency_p95",
    "latency_p99",
}


def check_told_alike(found: vj.EmbeddingResult) -> None:
    """But for times, the statistics are those that are made of the recording when it was kept and read again."""
    told, kept = found.statistics, Recording.from_dict(json.loads(json.dumps(found.recording.to_dict())))
    tally = Tally.of(kept, told.texts, Counter(told.failures))
    again = tally.statistics(told.started, told.seconds, 0, 0.0, kept.latencies)
    for each in fields(told):
        if each.name not in MEASURED:
            assert getattr(again, each.name) == getattr(told, each.name), each.name


def test_tokens_cuts_padding_and_lookups_are_those_of_the_recording(tiny: Callable[[str], Tiny]) -> None:
    texts = ["one", "two two", "long " * LONGEST, "three three three"]
    with vj.Embedder(f"local:{tiny('mean').folder}", device="cpu", cache="memory") as embedder:
        first = embedder.embed(texts)
        second = embedder.embed([*texts, "four"])
    assert (first.statistics.truncated, second.statistics.cache_hits) == (1, len(texts))
    assert first.statistics.padding_share
    check_told_alike(first)
    check_told_alike(second)


def test_nothing_is_told_of_what_nobody_counts() -> None:
    with vj.Embedder(lambda texts: np.ones((len(texts), 2)), name="untold") as embedder:
        check_told_alike(embedder.embed(["one", "two"]))


def test_tokens_that_a_batch_was_paid_for_before_it_failed_are_in_both() -> None:
    def paid(texts: list[str]) -> Reply:
        raise BatchFailed("the answer was of another width", tokens=7, retries=2, waited=0.5)

    with vj.Embedder(paid, name="paid") as embedder:
        found = embedder.embed(["one"], on_error="collect")
    assert found.statistics.tokens == 7
    check_told_alike(found)
