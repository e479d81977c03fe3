"""What is counted as a run goes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

import numpy as np

from vjaccel.embedding.result import EmbeddingStatistics

__all__ = ["Latencies", "Tally"]


@dataclass
class Tally:
    """What is counted as a run goes.

    `counted` is whether the provider counts tokens before it embeds, `told` whether tokens are known of all that was embedded,
    `cuts_known` whether it is known what was cut off.
    """

    texts: int = 0
    duplicates: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    truncated: int = 0
    tokens_lost: int = 0
    tokens: int = 0
    padded: int = 0
    batches: int = 0
    retries: int = 0
    waited: float = 0.0
    latencies: Latencies = field(default_factory=lambda: Latencies())
    counted: bool = True
    told: bool = True
    cuts_known: bool = True

    def add(self, other: Tally) -> None:
        """Count what `other` has counted too."""
        for each in fields(self):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, mine and others if isinstance(mine, bool) else mine + others)

    @property
    def failed(self) -> int:
        """Texts that have no vector."""
        return self.failures.total()

    def statistics(self, started: datetime, seconds: float, peak_memory_bytes: int, cpu: float) -> EmbeddingStatistics:
        """The statistics, None for what the provider cannot count."""
        known = self.counted
        p50, p95, p99 = (self.latencies.quantile(share) for share in (0.5, 0.95, 0.99))
        return EmbeddingStatistics(
            texts=self.texts,
            embedded=self.texts - self.failed,
            failed=self.failed,
            failures=dict(self.failures),
            duplicates=self.duplicates,
            cache_hits=self.cache_hits,
            cache_misses=self.cache_misses,
            truncated=self.truncated if self.cuts_known else None,
            tokens_lost=self.tokens_lost if self.cuts_known else None,
            tokens=self.tokens if self.told else None,
            padding_share=1.0 - self.tokens / self.padded if known and self.padded else None,
            batches=self.batches,
            retries=self.retries,
            waited=self.waited,
            latency_p50=p50,
            latency_p95=p95,
            latency_p99=p99,
            started=started,
            ended=started + timedelta(seconds=seconds),
            seconds=seconds,
            peak_memory_bytes=peak_memory_bytes,
            cpu_seconds=cpu,
        )


class Latencies:
    """How often each latency was seen, in steps of 2%: as much for an endless stream as for one batch."""

    SHORTEST, STEP, STEPS = 1e-6, 1.02, 1200

    def __init__(self, *seconds: float) -> None:
        self._counts = np.zeros(self.STEPS, np.int64)
        for each in seconds:
            self.append(each)

    def append(self, seconds: float) -> None:
        """Count one; below a microsecond is one."""
        place = math.log(max(seconds, self.SHORTEST) / self.SHORTEST, self.STEP)
        self._counts[min(round(place), self.STEPS - 1)] += 1

    def __add__(self, other: Latencies) -> Latencies:
        both = Latencies()
        both._counts = self._counts + other._counts
        return both

    def quantile(self, share: float) -> float | None:
        """What so large a share of them did not exceed, in seconds, to 1%; None where there were none."""
        total = int(self._counts.sum())
        if not total:
            return None
        place = int(np.searchsorted(np.cumsum(self._counts), math.ceil(share * total)))
        return float(self.SHORTEST * self.STEP**place)
