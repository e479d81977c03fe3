"""Whether somebody scrapes, and when the next time is due."""

from __future__ import annotations

import threading

import pytest

from vjaccel.observe.scrapes import LONGEST, Scrapes

PATIENCE = 30.0


@pytest.mark.parametrize(
    ("times", "by_prometheus", "now", "due"),
    [
        pytest.param([], True, 10.0, None, id="never"),
        pytest.param([1.0], False, 2.0, None, id="somebody once"),
        pytest.param([1.0], True, 2.0, LONGEST, id="Prometheus once"),
        pytest.param([1.0], True, 1.0 + 3 * LONGEST, LONGEST, id="Prometheus once, and it may come each minute"),
        pytest.param([1.0], True, 3600.0, None, id="Prometheus once, an hour ago"),
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
        scrapes.began("10.0.0.1", by_prometheus=by_prometheus)()
    clock[0] = now
    assert scrapes.due() == due


def test_one_that_has_begun_before_is_not_the_next() -> None:
    clock = [1.0]
    scrapes = Scrapes(lambda: clock[0])
    before = scrapes.began("10.0.0.1", by_prometheus=True)
    clock[0] = 2.0
    before()
    assert scrapes.due() == LONGEST
    waiting = threading.Thread(target=scrapes.wait)
    waiting.start()
    clock[0] = 3.0
    waiting.join(0.05)
    assert waiting.is_alive()
    scrapes.began("10.0.0.1", by_prometheus=True)()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


def test_of_several_who_scrape_the_slowest_is_waited_for() -> None:
    clock = [0.0]
    scrapes = Scrapes(lambda: clock[0])
    # One each second, one each twenty, and one that is there no more.
    seen = [("10.0.0.1", float(i)) for i in range(41)] + [("10.0.0.2", 19.0), ("10.0.0.2", 39.0)]
    seen += [("10.0.0.3", 1.0), ("10.0.0.3", 2.0)]
    for address, clock[0] in sorted(seen, key=lambda one: one[1]):
        scrapes.began(address, by_prometheus=True)()
    assert scrapes.due() == 31.0
    waiting = threading.Thread(target=scrapes.wait)
    waiting.start()
    clock[0] = 41.0
    scrapes.began("10.0.0.1", by_prometheus=True)()
    waiting.join(0.05)
    assert waiting.is_alive()
    clock[0] = 59.0
    scrapes.began("10.0.0.2", by_prometheus=True)()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
