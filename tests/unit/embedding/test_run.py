"""What a run makes of answers that look like vectors, and of memory that runs out where tokens say nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.embedding import BatchFailed, Reply
from vjaccel.embedding.tally import Tally
from vjaccel.telemetry import Latencies


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(lambda texts: np.ones((len(texts), 2)) * 1j, "real numbers, not complex128", id="complex"),
        pytest.param(lambda texts: np.ones((len(texts), 0)), r"1 texts came back .* \(1, 0\)", id="no columns"),
        pytest.param(lambda texts: [[]] * len(texts), r"1 texts came back .* \(1, 0\)", id="empty lists"),
    ],
)
def test_what_is_no_vector_of_real_numbers_is_each_texts_error(answer: Callable[..., object], message: str) -> None:
    embedder = vj.Embedder(answer)
    with pytest.raises(vj.EmbeddingErrors, match=message) as raised:
        embedder.embed(["a", "b"])
    assert [error.code for error in raised.value.result.errors] == ["EMBEDDING_GENERATION_FAILED"] * 2
    assert embedder.dim is None


def test_a_run_that_is_over_at_once_has_its_whole_processor_time() -> None:
    def busy(texts: list[str]) -> np.ndarray:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
        return np.ones((len(texts), 2))

    result = vj.Embedder(busy).embed(["a", "b"])
    assert result.recording.timeline.values["cpu_seconds"].sum() >= 0.02


def test_a_number_that_float32_has_no_room_for_is_that_texts_error_and_no_warning() -> None:
    def large(texts: list[str]) -> np.ndarray:
        return np.array([[1e300 if text == "bad" else 1.0, 2.0] for text in texts])

    result = vj.Embedder(large).embed(["a", "bad", "c"], on_error="collect")
    assert [(error.index, error.code) for error in result.errors] == [(1, "INVALID_EMBEDDING")]
    assert result.statistics.batches == 2, "it was tried once more, alone"


def test_memory_that_runs_out_over_an_empty_text_leaves_the_budget_for_others() -> None:
    sizes: list[int] = []

    def small(texts: list[str]) -> np.ndarray:
        sizes.append(len(texts))
        if texts == [""] or len(texts) > 2:
            raise MemoryError
        return np.ones((len(texts), 2))

    embedder = vj.Embedder(small, batch_tokens=8)
    assert not embedder.embed([""], on_error="collect").ok.any()
    sizes.clear()
    assert embedder.embed(["abcd", "efgh", "ijkl"]).ok.all()
    assert sizes == [2, 1]


def test_tallies_add_up_and_know_tokens_only_where_both_do() -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    tally = Tally(texts=3, tokens=10, padded=20, batches=1, failures=Counter(INVALID_TEXT=1))
    tally.add(Tally(texts=2, tokens=6, padded=12, batches=1, retries=2))
    known = tally.statistics(began, 2.0, 5, 0.5, Latencies(2.0, 4.0))
    assert (known.texts, known.embedded, known.tokens, known.padding_share) == (5, 4, 16, 0.5)
    assert (known.texts_per_second, known.tokens_per_second) == (2, 8)
    assert (known.failed, known.failures, known.retries) == (1, {"INVALID_TEXT": 1}, 2)
    assert (known.latency_p50, known.latency_p99) == (pytest.approx(2, rel=0.011), pytest.approx(4, rel=0.011))
    assert (known.ended - known.started).total_seconds() == 2
    tally.add(Tally(texts=1, told=False))
    unknown = tally.statistics(began, 2.0, 5, 0.5, Latencies())
    assert (unknown.texts, unknown.tokens) == (6, None)


@pytest.mark.parametrize(("then", "asked"), [("split", [4, 2, 1, 1, 2]), ("give up", [4])])
def test_a_provider_says_whether_a_failed_batch_is_tried_in_halves(
    then: Literal["split", "give up"], asked: list[int]
) -> None:
    seen: list[int] = []

    def failing(texts: list[str]) -> Reply:
        seen.append(len(texts))
        if "bad" in texts:
            raise BatchFailed("no", code="RATE_LIMITED", then=then, retries=3, waited=1.5)
        return Reply(np.ones((len(texts), 2)), tokens=len(texts))

    result = vj.Embedder(failing).embed(["a", "bad", "c", "d"], on_error="collect")
    assert seen == asked
    found = result.statistics
    assert found.failures == {"RATE_LIMITED": len(result.errors)}
    assert (found.retries, found.waited) == (3 * (len(asked) - 2 if then == "split" else 1), 1.5 * found.retries / 3)
    assert found.tokens == len(result.ok) - len(result.errors)


def test_what_will_not_pass_ends_the_run_with_its_own_error() -> None:
    seen: list[int] = []

    def refusing(texts: list[str]) -> Reply:
        seen.append(len(texts))
        raise BatchFailed("refused", then="stop") from PermissionError("no key")

    with pytest.raises(PermissionError, match="no key"):
        vj.Embedder(refusing).embed(["a"] * 3000, on_error="collect")
    assert len(seen) == 1
