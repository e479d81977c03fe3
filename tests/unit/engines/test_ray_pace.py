"""How many workers share a limit, by what they waited for it; and how many shards are let go for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vjaccel.cluster import Workers
from vjaccel.engines.ray_pace import Pace, wanted


@pytest.mark.parametrize(
    ("now", "workers", "waited", "busy", "then"),
    [
        (1, Workers(1, 8), 0.0, 10.0, 2),
        (4, Workers(1, 8), 0.0, 10.0, 8),
        (8, Workers(1, 8), 0.0, 10.0, 8),
        (3, Workers(1, 5), 0.0, 10.0, 5),
        (3, Workers(1, None), 0.0, 10.0, 6),
        (4, Workers(1, 8), 6.0, 10.0, 4),
        (4, Workers(1, 8), 11.0, 10.0, 2),
        (1, Workers(1, 8), 11.0, 10.0, 1),
        (4, Workers(3, 8), 11.0, 10.0, 3),
        (2, Workers(1, 8), 0.0, 0.0, 4),
    ],
)
def test_more_come_while_nobody_waits_and_fewer_stay_where_most_do(
    now: int, workers: Workers, waited: float, busy: float, then: int
) -> None:
    assert wanted(now, workers, waited, busy) == then


def test_shards_are_let_go_for_the_workers_that_are_wanted(tmp_path: Path) -> None:
    now = [0.0]
    pace = Pace(tmp_path, Workers(1, 4), 20, clock=lambda: now[0])

    def released() -> int:
        return int((tmp_path / "released").read_text())

    assert released() == 1
    # Too little to judge by.
    pace.look(1, waited=0.0, busy=12.0)
    assert released() == 1 + 1
    # Nobody has waited: two workers, and one shard ahead of them; then four.
    pace.look(1, waited=0.0, busy=60.0)
    assert released() == 1 + 3
    pace.look(2, waited=0.0, busy=126.0)
    assert released() == 2 + 7
    # Since then they have waited for most of the time: two, and nothing ahead, so that whoever was more finds nothing.
    pace.look(3, waited=300.0, busy=150.0)
    assert released() == 3 + 2
    # Those that were let go for four tell of these.
    now[0] = 30.0
    pace.look(8, waited=900.0, busy=200.0)
    assert released() == 8 + 2
    # What has become of the others is judged by a minute, as the limit lets some go at once, and will have them wait again.
    now[0] = 70.0
    pace.look(10, waited=900.0, busy=500.0)
    assert released() == 10 + 2
    now[0] = 131.0
    pace.look(11, waited=900.0, busy=800.0)
    assert released() == 11 + 7
    # All that there is.
    now[0] = 200.0
    pace.look(19, waited=900.0, busy=1200.0)
    assert released() == 20


def test_two_that_wait_in_the_same_minute_are_not_halved_twice(tmp_path: Path) -> None:
    now = [0.0]
    pace = Pace(tmp_path, Workers(1, 8), 100, clock=lambda: now[0])

    def released(at: float, done: int, waited: float, busy: float) -> int:
        now[0] = at
        pace.look(done, waited, busy)
        return int((tmp_path / "released").read_text()) - done

    assert [released(at, 0, 0.0, 40.0 * at) for at in (10.0, 20.0, 30.0)] == [3, 7, 15]
    assert released(40.0, 1, 2000.0, 1500.0) == 4
    # 15 were let go for eight workers.
    assert [released(40.0 + 3 * done, done, 2000.0 + 300.0 * done, 1500.0) for done in range(2, 15)] == [4] * 13
    assert [released(at, 15, 200.0 * at, 1500.0) for at in (90.0, 120.0, 141.0)] == [4] * 3
    assert released(150.0, 16, 40_000.0, 1500.0) == 2
