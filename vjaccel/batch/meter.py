"""What a request takes, by the clock and by the system's own counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psutil

from vjaccel.batch.responses import BatchStatistics
from vjaccel.batch.settings import Plan
from vjaccel.batch.work import Work
from vjaccel.embedding import ItemError

__all__ = ["Meter", "resident_bytes"]

_process = psutil.Process()


def resident_bytes() -> int:
    """The resident memory of this process."""
    return int(_process.memory_info().rss)


class Meter:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._began = datetime.now(UTC)
        self._cpu = time.process_time()
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """Since then."""
        return time.perf_counter() - self._started

    def statistics(self, work: Work[Any], errors: Sequence[ItemError], plan: Plan) -> BatchStatistics:
        """Of a request whose batches are done."""
        seconds, job = self.seconds(), work.job
        failed = len(errors)
        processed = work.total - failed
        return BatchStatistics(
            start=self._began,
            end=datetime.now(UTC),
            total=work.total,
            processed=processed,
            failed=failed,
            throughput=processed / seconds if processed and seconds else None,
            average_latency=sum(job.latencies) / len(job.latencies) if job.latencies else None,
            memory=resident_bytes(),
            cpu=(time.process_time() - self._cpu) / seconds if seconds else 0.0,
            batches=len(job.pieces),
            batch_size=plan.batch_size,
            concurrency=job.most,
            not_applicable=plan.not_applicable,
        )
