"""What the simulation says of larger clusters than can be had here: failures, slow workers, sizes of shards, one limit.

The workers are as quick as the one that was measured; how often they fail and how unlike they are is assumed, and said.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from benchmarks.scale.limited import Limit
from benchmarks.scale.simulation import Plan, simulated

__all__ = ["simulated_studies"]

TEXTS, TOKENS, SPREAD, START = 1_000_000_000, 150, 0.1, 30.0
AWAY = 120.0
"""Seconds until a worker that failed has a node again and its model loaded."""

CLUSTERS = (10, 100, 1_000)
FAILURES = (math.inf, 24 * 3600.0, 3600.0)
SLOW, SLOWNESS = 0.01, 4.0
SHARD_ROWS = (None, 1_024, 4_096, 16_384)

LIMIT, REQUEST_TOKENS, REQUEST_SECONDS = 100_000_000, 8_000, 0.5
LIMITED_MINUTES, LIMITED_WORKERS = 5, (10, 100, 1_000)
FOLLOWING_MINUTES, FOLLOWING_WORKERS = 30, 100


def simulated_studies(speed: float, take_in: float, ask: float) -> dict[str, Any]:
    """What becomes of the same work on clusters of several sizes.

    Parameters
    ----------
    speed : float
        Tokens a second of a worker.
    take_in : float
        Rows a second that a driver takes in.
    ask : float
        Seconds that Redis takes for a question.
    """
    plan = Plan(
        texts=TEXTS, tokens=TOKENS, workers=1, speed=speed, spread=SPREAD, start=START, away=AWAY, take_in=take_in,
    )  # fmt: skip
    return {
        "assumed": {
            "texts": TEXTS, "tokens": TOKENS, "spread": SPREAD, "start": START, "away": AWAY, "slow": SLOW,
            "slowness": SLOWNESS, "speed": speed, "take_in": take_in,
        },
        "failures": [_failing(plan, workers, failure) for workers in CLUSTERS for failure in FAILURES],
        "slow": [_slow(plan, rows, slow) for rows in SHARD_ROWS for slow in (0.0, SLOW)],
        "limit": {
            "tokens": LIMIT, "request_tokens": REQUEST_TOKENS, "request_seconds": REQUEST_SECONDS, "ask": ask,
            "minutes": LIMITED_MINUTES, "runs": [_limited(workers, ask, LIMITED_MINUTES) for workers in LIMITED_WORKERS],
            "following": {
                "minutes": FOLLOWING_MINUTES, "workers": FOLLOWING_WORKERS,
                "runs": [_limited(FOLLOWING_WORKERS, ask, FOLLOWING_MINUTES, least) for least in (None, 1)],
            },
        },
    }  # fmt: skip


def _failing(plan: Plan, workers: int, failure: float) -> dict[str, Any]:
    # A share of the work of one worker of a thousand for each, so that a run of ten ends as soon as one of a thousand.
    found = simulated(replace(plan, texts=plan.texts * workers // max(CLUSTERS), workers=workers, failure=failure))
    return {"workers": workers, "failure": None if failure == math.inf else failure} | found._asdict()


def _slow(plan: Plan, rows: int | None, slow: float) -> dict[str, Any]:
    found = simulated(replace(plan, workers=max(CLUSTERS), slow=slow, slowness=SLOWNESS, shard_rows=rows))
    return {"shard_rows": rows, "slow": slow} | found._asdict()


def _limited(workers: int, ask: float, minutes: int, least: int | None = None) -> dict[str, Any]:
    texts = LIMIT * minutes // TOKENS
    plan = Plan(
        texts=texts, tokens=TOKENS, workers=workers, speed=REQUEST_TOKENS / REQUEST_SECONDS, batch=REQUEST_TOKENS,
        limit=Limit(LIMIT, at_once=8, ask=ask), shard_rows=max(1, texts // (8 * workers)), least=least,
    )  # fmt: skip
    return {"workers": workers, "least": least} | simulated(plan)._asdict()
