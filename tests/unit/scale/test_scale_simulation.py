"""The simulation of a cluster keeps the laws that such a run has, whatever its figures."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks.scale.limited import Limit
from benchmarks.scale.simulation import Plan, simulated
from vjaccel.engines.dealing import GONE_SECONDS
from vjaccel.engines.ray_pace import AHEAD

EQUAL = Plan(texts=64_000, tokens=100, workers=4, speed=2500, shard_rows=500, batch=1000)
"""6,400,000 tokens by 10,000 a second."""

LIMITED = replace(EQUAL, texts=60_000, workers=20, limit=Limit(1_000_000))
"""Workers that could send three million tokens a minute, of which one may be."""


@pytest.mark.parametrize("workers", [1, 2, 4, 16])
def test_equal_workers_that_never_fail_take_the_work_by_their_speed(workers: int) -> None:
    found = simulated(replace(EQUAL, workers=workers))
    assert found.seconds == pytest.approx(6_400_000 / (2500 * workers))
    assert found.utilisation == pytest.approx(1)
    assert found.repeated == 0
    assert found.finished


def test_what_comes_before_and_after_embedding_is_added() -> None:
    found = simulated(replace(EQUAL, start=7, begin=3, read=6400, merge=3200))
    assert found.embedding == pytest.approx(640 + 7)
    assert found.seconds == pytest.approx(3 + 10 + 647 + 20)


def test_a_driver_that_is_slower_than_the_workers_is_what_a_run_takes() -> None:
    found = simulated(replace(EQUAL, workers=64, take_in=200))
    first_shard = 500 * 100 / 2500
    assert found.embedding == pytest.approx(first_shard + 64_000 / 200)
    assert found.driver == pytest.approx(320 / 340)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("failure", [math.inf, 300.0])
def test_a_limit_that_binds_is_what_a_run_takes(shared: bool, failure: float) -> None:
    found = simulated(
        replace(LIMITED, failure=failure, away=5.0, limit=Limit(1_000_000, shared=shared, at_once=2, ask=1e-4))
    )
    minutes = 6_000_000 / 1_000_000
    # The first minute's budget is sent at once; a use is counted until a minute after its reply.
    assert 60 * (minutes - 1) <= found.seconds <= 60 * (minutes + 0.5)
    assert found.finished
    assert (found.asks > 0) is shared
    assert (found.failures > 0) is (failure < math.inf)


def test_a_limit_that_does_not_bind_costs_nothing() -> None:
    found = simulated(replace(LIMITED, workers=2, limit=Limit(100_000_000)))
    assert found.seconds == pytest.approx(6_000_000 / 5000, rel=0.01)


def test_workers_that_follow_a_limit_are_fewer() -> None:
    plan = replace(LIMITED, texts=60_000, workers=16, shard_rows=1000, limit=Limit(1_500_000, at_once=2))
    all_of_them, following = simulated(plan), simulated(replace(plan, least=2))
    assert following.finished
    assert following.seconds >= 0.9 * 6_000_000 / 1_500_000 * 60 - 60
    assert following.worker_seconds / following.embedding < plan.workers
    assert all_of_them.worker_seconds == pytest.approx(plan.workers * all_of_them.embedding)


def test_workers_that_follow_a_limit_which_does_not_bind_become_all_that_may_be() -> None:
    plan = replace(LIMITED, texts=30_000, workers=4, shard_rows=250, limit=Limit(1_000_000_000))
    following, all_of_them = simulated(replace(plan, least=1)), simulated(plan)
    assert all_of_them.seconds <= following.seconds < 1.2 * all_of_them.seconds


def test_what_answers_one_after_the_other_bounds_how_often_it_is_asked() -> None:
    quick, slow = (simulated(replace(LIMITED, limit=Limit(1_000_000, ask=ask))) for ask in (1e-4, 0.05))
    assert slow.asks <= slow.embedding / 0.05 + 1
    assert quick.asks > slow.asks


def test_failures_are_as_many_as_their_mean_time_says_and_cost_what_they_take_away() -> None:
    plan = replace(EQUAL, texts=640_000, workers=50, failure=400.0, away=20.0)
    found, without = simulated(plan), simulated(replace(plan, failure=math.inf))
    assert found.failures == pytest.approx(50 * without.embedding / 400, rel=0.3)
    # Of each failure a batch is lost at most.
    assert 0 < found.repeated <= found.failures * plan.batch / (plan.texts * plan.tokens)
    assert without.embedding < found.embedding
    assert found.given_up == 0
    assert found.finished


def test_a_worker_that_is_killed_costs_its_batch_and_the_time_it_is_away() -> None:
    alone = replace(EQUAL, workers=1)
    # In the middle of a batch of ten texts, which takes 0.4 s.
    found = simulated(replace(alone, killed=(100.2,), away=30))
    assert found.failures == 1
    assert found.repeated * 6_400_000 == pytest.approx(500)
    assert found.seconds == pytest.approx(6_400_000 / 2500 + 0.2 + 30)


def test_a_slow_worker_holds_the_run_up_by_no_more_than_the_shards_it_has() -> None:
    plan = replace(EQUAL, workers=16, slow=1 / 16, slowness=8)
    found, shard = simulated(plan), 500 * 100 / (2500 / 8)
    even = 6_400_000 / (2500 * (15 + 1 / 8))
    assert even < found.seconds <= even + AHEAD * shard
    assert simulated(replace(plan, shard_rows=50)).seconds < found.seconds


def test_a_run_ends_when_nobody_is_there_for_longer_than_it_waits() -> None:
    gone = replace(EQUAL, workers=1, failure=50.0, away=2 * GONE_SECONDS)
    assert not simulated(gone).finished
    assert simulated(replace(gone, away=GONE_SECONDS / 2)).finished


def test_the_same_seed_is_the_same_run() -> None:
    plan = replace(EQUAL, spread=0.2, failure=300.0, away=3.0)
    assert simulated(plan) == simulated(plan)
    assert simulated(plan) != simulated(replace(plan, seed=1))


def test_no_texts_are_no_work() -> None:
    found = simulated(replace(EQUAL, texts=0))
    assert found.seconds == 0
    assert found.finished


def test_ray_data_gives_a_worker_as_many_shards_as_is_modelled() -> None:
    context = pytest.importorskip("ray.data.context")
    assert context.DEFAULT_ACTOR_MAX_TASKS_IN_FLIGHT_TO_MAX_CONCURRENCY_FACTOR == AHEAD
