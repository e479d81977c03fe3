"""Contenders measured in turn, A B C A B C, so that whatever else the machine does hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["contest"]


def contest(
    benchmark: Any,
    bar: str,
    contenders: dict[str, Callable[[], object]],
    rounds: int = 7,
    work: float | None = None,
    warmup: int = 1,
) -> None:
    """Benchmark a round of all contenders, and keep the milliseconds of each in the benchmark's extra_info.

    Parameters
    ----------
    bar : str
        Which bar the figure is for, as in ``P1``.
    contenders : dict
        Ours are those whose name begins with "vjaccel"; those that begin with "limit" bound what is possible, and are no
        peers.
    work : float, optional
        What one call does, in units of which the rate is shown.
    warmup : int
        Rounds that are not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}

    def one_round() -> None:
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)

    benchmark.pedantic(one_round, rounds=rounds, warmup_rounds=warmup)
    counted = {name: taken[-rounds:] for name, taken in seconds.items()}
    benchmark.extra_info["bar"] = bar
    benchmark.extra_info["best_ms"] = {name: round(min(taken) * 1e3, 4) for name, taken in counted.items()}
    benchmark.extra_info["median_ms"] = {
        name: round(sorted(taken)[len(taken) // 2] * 1e3, 4) for name, taken in counted.items()
    }
    if work is not None:
        benchmark.extra_info["work"] = work
        ours = min(min(taken) for name, taken in counted.items() if name.startswith("vjaccel"))
        benchmark.extra_info["rate"] = f"{work / ours:,.0f}"
