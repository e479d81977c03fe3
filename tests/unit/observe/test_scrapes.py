"""Whether somebody scrapes, and when the next time is due."""

from __future__ import annotations

import pytest

from vjaccel.observe.scrapes import LONGEST, Scrapes


@pytest.mark.parametrize(
    ("times", "by_prometheus", "now", "due"),
    [
        pytest.param([], True, 10.0, None, id="never"),
        pytest.param([1.0], False, 2.0, None, id="somebody once"),
        pytest.param([1.0], True, 2.0, LONGEST, id="Prometheus once"),
        pytest.param([1.0, 11.0], False, 12.0, 16.0, id="each ten seconds"),
        pytest.param([1.0, 11.0], False, 42.0, None, id="no more"),
        pytest.param([1.0, 2.0, 302.0], True, 303.0, LONGEST, id="each five minutes"),
    ],
)
def test_the_next_scrape_is_due_when_it_would_be(
    times: list[float], by_prometheus: bool, now: float, due: float | None
) -> None:
    clock = [0.0]
    scrapes = Scrapes(lambda: clock[0])
    for clock[0] in times:
        scrapes.began(by_prometheus=by_prometheus)()
    clock[0] = now
    assert scrapes.due() == due


def test_one_that_has_begun_before_is_not_the_next() -> None:
    clock = [1.0]
    scrapes = Scrapes(lambda: clock[0])
    before = scrapes.began(by_prometheus=True)
    clock[0] = 2.0
    before()
    scrapes.wait(0.01)  # which is over, and has not raised
    assert scrapes.due() == LONGEST
