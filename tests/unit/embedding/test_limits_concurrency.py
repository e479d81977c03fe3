"""How much at once: one until something has succeeded, more while it goes well, half when the service pushes back."""

from __future__ import annotations

import asyncio

from tests.unit.embedding.virtual_time import virtually
from vjaccel.embedding.limits.concurrency import Adaptive, Slots


def proven(most: int, seconds: float = 1.0) -> Adaptive:
    adaptive = Adaptive(most)
    adaptive.succeeded(-seconds, 0.0)
    return adaptive


def test_there_is_one_at_a_time_until_the_first_has_succeeded() -> None:
    adaptive = Adaptive(8)
    adaptive.pushed_back(0.0, 1.0)
    assert (adaptive.limit, adaptive.proven) == (1, False)
    adaptive.succeeded(0.0, 1.0)
    assert (adaptive.limit, adaptive.proven) == (4, True)


def test_it_grows_by_one_for_each_round_up_to_the_workers_there_are() -> None:
    adaptive = proven(8)
    limits = []
    for turn in range(40):
        adaptive.succeeded(float(turn), turn + 1.0)
        limits.append(adaptive.limit)
    assert limits == sorted(limits)
    assert limits[4] == 5
    assert limits[-1] == 8


def test_a_refusal_halves_it_once_for_all_that_were_under_way() -> None:
    adaptive = proven(16)
    for _ in range(5):
        adaptive.pushed_back(1.0, 2.0)
    assert adaptive.limit == 4
    adaptive.pushed_back(2.5, 3.0)
    assert adaptive.limit == 2
    for turn in range(3, 9):
        adaptive.pushed_back(turn + 0.5, turn + 1.0)
    assert adaptive.limit == 1


def test_latency_that_grows_halves_it_and_steady_latency_does_not() -> None:
    adaptive = proven(16, seconds=0.2)
    for turn in range(100):
        adaptive.succeeded(float(turn), turn + 0.2 + 0.1 * (turn % 2))
    assert adaptive.limit == 16
    for turn in range(100, 106):
        adaptive.succeeded(float(turn), turn + 0.8)
    assert adaptive.limit <= 8


def test_milliseconds_are_noise() -> None:
    adaptive = proven(16, seconds=0.001)
    for turn in range(200):
        adaptive.succeeded(float(turn), turn + 0.001 + 0.02 * (turn % 3))
    assert adaptive.limit == 16


def test_a_service_that_has_become_slow_for_good_is_used_in_full_again() -> None:
    adaptive = proven(8, seconds=0.2)
    for turn in range(400):
        adaptive.succeeded(float(turn), turn + 2.0)
    assert adaptive.limit == 8


def test_never_more_are_held_than_the_limit_says_and_all_get_their_turn() -> None:
    held, seen = [0], []

    async def one(slots: Slots) -> None:
        async with slots:
            held[0] += 1
            seen.append((held[0], slots.adaptive.limit))
            await asyncio.sleep(1.0)
            held[0] -= 1
            slots.adaptive.succeeded(0.0, 1.0)

    async def all_of_them() -> None:
        slots = Slots(Adaptive(6))
        await asyncio.gather(*(one(slots) for _ in range(60)))

    virtually(lambda clock: all_of_them())
    assert len(seen) == 60
    assert all(busy <= limit for busy, limit in seen)
    assert max(busy for busy, _ in seen) == 6
