"""The best budget of a batch is found from what batches take: by curves of latency that are made up, and no clock."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from vjaccel.embedding.tuner import GRID, Learned, Lesson, Tuner, bucket_of, budgets_around

USUAL = 1024
BUDGETS = budgets_around(USUAL)
EVERY = [16, 64]
"""Longest texts of two buckets."""

Curve = Callable[[int], float]
"""Seconds of a batch of so many tokens."""


def started(tokens: int) -> float:
    """What starting costs is little after some thousand tokens."""
    return 0.05 + tokens / 6000


def cached(tokens: int) -> float:
    """Above two thousand tokens nothing fits the processor's cache."""
    return 0.01 + tokens / 6000 + max(0, tokens - 2048) / 3000


def crowded(tokens: int) -> float:
    """The fewer at once the better."""
    return 0.001 + tokens / 6000 * (tokens / 64) ** 0.4


CURVES = {"started": started, "cached": cached, "crowded": crowded}
every_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)


def rate(curve: Curve, budget: int) -> float:
    return budget / curve(budget)


def best(curve: Curve) -> float:
    return max(rate(curve, budget) for budget in BUDGETS)


def beginning_at(budget: int, curve: Curve) -> Learned:
    """As if an earlier run had seen that budget alone."""
    tuner = Tuner(USUAL)
    tuner.learn(Lesson(64, budget), budget, curve(budget))
    return tuner.learned()


def follow(tuner: Tuner, curve: Curve, batches: int, *, noise: float = 0.0, seed: int = 0) -> list[int]:
    """The budgets of so many batches of texts with eighteen tokens."""
    chance, taken = random.Random(seed), []
    for _ in range(batches):
        lesson = tuner.choose(18)
        tokens = int(lesson.budget * chance.uniform(0.85, 1))
        tuner.learn(lesson, tokens, curve(tokens) * max(0.2, chance.gauss(1, noise)))
        taken.append(lesson.budget)
    return taken


def mean_rate(curve: Curve, budgets: list[int]) -> float:
    return sum(budgets) / sum(curve(budget) for budget in budgets)


@every_curve
@pytest.mark.parametrize("start", BUDGETS)
def test_from_any_start_it_is_within_five_percent_of_the_best_after_thirty_batches(curve: Curve, start: int) -> None:
    tuner = Tuner(USUAL, beginning_at(start, curve))
    assert follow(tuner, curve, 1) == [start]
    follow(tuner, curve, 29)
    assert rate(curve, tuner.best()) >= 0.95 * best(curve)
    assert mean_rate(curve, follow(tuner, curve, 60)) >= 0.95 * best(curve)


@every_curve
def test_at_a_good_start_what_is_tried_costs_next_to_nothing(curve: Curve) -> None:
    start = max(BUDGETS, key=lambda budget: rate(curve, budget))
    tuner = Tuner(USUAL, beginning_at(start, curve))
    assert mean_rate(curve, follow(tuner, curve, 100)) >= 0.96 * best(curve)


@every_curve
def test_rates_that_differ_by_a_fifth_from_batch_to_batch_still_show_the_way(curve: Curve) -> None:
    close = 0
    for seed in range(20):
        tuner = Tuner(USUAL)
        follow(tuner, curve, 120, noise=0.2, seed=seed)
        close += rate(curve, tuner.best()) >= 0.9 * best(curve)
    assert close >= 17


@pytest.mark.parametrize(("before", "after"), [(started, crowded), (crowded, started), (started, cached)])
def test_when_the_load_changes_so_does_the_budget(before: Curve, after: Curve) -> None:
    tuner = Tuner(USUAL)
    follow(tuner, before, 200)
    assert rate(before, tuner.best()) >= 0.95 * best(before)
    follow(tuner, after, 80)
    assert rate(after, tuner.best()) >= 0.95 * best(after)


@pytest.mark.parametrize("room", [40, 100, 1024, 5000])
def test_a_size_at_which_memory_ran_out_is_never_tried_again(room: int) -> None:
    tuner, failed = Tuner(USUAL), list[int]()
    for _ in range(200):
        lesson = tuner.choose(18)
        if lesson.budget > room:
            failed.append(lesson.budget)
            tuner.ran_out(lesson.budget)
        else:
            tuner.learn(lesson, lesson.budget, started(lesson.budget))
    assert len(failed) == len(set(failed))
    assert sorted(failed, reverse=True) == failed
    assert tuner.best() <= tuner.most <= room
    again = Tuner(USUAL, tuner.learned())
    assert max(follow(again, started, 100)) <= room


def test_it_begins_with_what_is_usual_and_says_so_before_anything_is_known() -> None:
    tuner = Tuner(USUAL)
    assert (tuner.best(), tuner.best(18), tuner.choose(18)) == (USUAL, USUAL, Lesson(64, USUAL))


def test_what_was_learned_is_where_the_next_run_begins() -> None:
    first = Tuner(USUAL)
    follow(first, crowded, 200)
    second = Tuner(USUAL, first.learned())
    assert second.choose(18).budget == second.best(18) == first.best(18) == 64
    assert second.choose(400) == Lesson(1024, USUAL)


def test_what_was_learned_long_ago_does_not_outweigh_what_is_seen() -> None:
    first = Tuner(USUAL)
    follow(first, started, 2000)
    second = Tuner(USUAL, first.learned())
    follow(second, crowded, 60)
    assert rate(crowded, second.best()) >= 0.95 * best(crowded)


def test_texts_of_other_lengths_are_learned_of_apart() -> None:
    tuner = Tuner(USUAL)
    for _ in range(200):
        for length, curve in ((10, started), (200, crowded)):
            lesson = tuner.choose(length)
            tuner.learn(lesson, lesson.budget, curve(lesson.budget))
    assert tuner.best(10) >= 4096
    assert tuner.best(200) <= 128


def test_first_batches_that_wait_for_what_is_loaded_tell_nothing() -> None:
    tuner = Tuner(USUAL, cold=2)
    for seconds in (10.0, 20.0):
        tuner.learn(Lesson(64, USUAL), 1000, seconds)
    assert tuner.lessons == 0
    assert tuner.learned().arms == {}


def test_several_threads_may_ask_and_tell() -> None:
    tuner = Tuner(USUAL)
    with ThreadPoolExecutor(4) as pool:
        taken = [
            taken for each in pool.map(lambda seed: follow(tuner, started, 100, seed=seed), range(4)) for taken in each
        ]
    assert set(taken) <= set(BUDGETS)
    assert tuner.lessons == 400
    assert rate(started, tuner.best()) >= 0.95 * best(started)


@pytest.mark.parametrize("usual", [1, 5, 1024, 65536])
def test_budgets_ascend_around_the_usual_one(usual: int) -> None:
    budgets = budgets_around(usual)
    assert len(budgets) == GRID
    assert list(budgets) == sorted(budgets)
    assert usual in budgets
    assert budgets[0] >= 1


@pytest.mark.parametrize("length", [0, 1, 2, 4, 5, 16, 17, 63, 64, 65, 8192])
def test_a_bucket_is_no_shorter_than_its_texts(length: int) -> None:
    bucket = bucket_of(length)
    assert max(length, 1) <= bucket < 4 * max(length, 1)
