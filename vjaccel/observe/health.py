"""Whether runs go on: what `/healthz` and `/readyz` answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from vjaccel.telemetry import Recording

__all__ = ["STALLED", "Answer", "healthy", "ready"]

STALLED = 300.0
"""Seconds without anything coming of a run that has texts to embed, after which it counts as stalled."""


class Answer(NamedTuple):
    """An HTTP status, and what is to be said as JSON. No text of anybody's is in it."""

    status: int
    body: dict[str, Any]


def healthy(runs: Iterable[Recording], problems: Sequence[str], stalled_after: float) -> Answer:
    """200 while all runs go on and nobody else has a problem; else 503, and why.

    Parameters
    ----------
    problems : sequence of str
        Others', a processor's, each a sentence.
    """
    shown, found = [], list(problems)
    for run in runs:
        stages, idle = run.stages, run.idle
        if idle > stalled_after:
            found.append(
                f"nothing has come of {run.model} for {idle:.0f} s: {stages.at_work} batches are at work, and "
                f"{stages.read - stages.settled} texts wait"
            )
        shown.append(
            {"model": run.model, "seconds": round(run.seconds, 3), "idle_seconds": round(idle, 3), **stages._asdict()}
        )
    return Answer(503 if found else 200, {"status": "failing" if found else "ok", "problems": found, "runs": shown})


def ready(*, begun: bool, takes_requests: bool) -> Answer:
    """200 once the model is loaded and a run has begun, and of a processor at once; else 503."""
    if takes_requests:
        return Answer(200, {"status": "ready", "why": "the processor takes requests"})
    if begun:
        return Answer(200, {"status": "ready", "why": "a run has begun"})
    why = "no run has begun yet: inputs are being read, or the model is being loaded"
    return Answer(503, {"status": "not ready", "why": why})
