"""How long to wait: full jitter under an exponential roof, and what a reply asks for in seconds or as a date."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vjaccel.embedding.limits import backoff, retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempt", "roof"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (7, 30.0), (100_000, 30.0)]
)
def test_a_wait_is_anything_from_nothing_to_a_roof_that_doubles(attempt: int, roof: float) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    assert backoff(attempt, uniform) == roof
    assert asked == [(0.0, roof)]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"Retry-After": "7"}, 7.0, id="seconds"),
        pytest.param({"retry-after": " 0.25 "}, 0.25, id="parts of a second"),
        pytest.param({"Retry-After": "-3"}, 0.0, id="less than nothing"),
        pytest.param({"Retry-After": "Sun, 01 Mar 2026 12:00:30 GMT"}, 30.0, id="a date"),
        pytest.param({"Retry-After": "Sun, 01 Mar 2026 13:00:30 +0100"}, 30.0, id="a date elsewhere"),
        pytest.param({"Retry-After": "Sun, 01 Mar 2026 12:00:30 -0000"}, 30.0, id="a date without a zone"),
        pytest.param({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0.0, id="a date that has passed"),
        pytest.param({"Retry-After-Ms": "1500", "Retry-After": "2"}, 1.5, id="milliseconds are finer"),
        pytest.param({"Retry-After": "soon"}, None, id="words"),
        pytest.param({"Retry-After": ""}, None, id="nothing"),
        pytest.param({"Retry-After": "nan"}, None, id="no number"),
        pytest.param({"Retry-After": "inf"}, None, id="for ever"),
        pytest.param({"Date": "Sun, 01 Mar 2026 12:00:30 GMT"}, None, id="not asked"),
        pytest.param({}, None, id="no headers"),
    ],
)
def test_what_a_reply_asks_to_be_waited_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, lambda: NOW) == seconds
