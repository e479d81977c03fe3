"""What is counted as a run goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

from vjaccel.embedding.result import DeviceStatistics, EmbeddingStatistics
from vjaccel.telemetry import Latencies, Recording

__all__ = ["ByDevice", "Tally"]


class ByDevice(dict[str, DeviceStatistics]):
    """What each of several devices did, by its name."""

    def __add__(self, other: ByDevice) -> ByDevice:
        both = ByDevice(self)
        for name, more in other.items():
            both[name] = both[name] + more if name in both else more
        return both


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
    devices: ByDevice = field(default_factory=ByDevice)
    counted: bool = True
    told: bool = True
    cuts_known: bool = True

    def add(self, other: Tally) -> None:
        """Count what `other` has counted too."""
        for each in fields(self):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, mine and others if isinstance(mine, bool) else mine + others)

    @classmethod
    def of(cls, recording: Recording, texts: int, failures: Counter[str]) -> Tally:
        """What was counted where so many texts were settled, and so many of them failed: at least that, of what was killed."""
        sums = {name: float(found.sum()) for name, found in recording.timeline.values.items()}
        cuts, tokens = recording.truncated_at_least, recording.tokens_at_least
        (truncated, lost), (hits, misses) = cuts or (0, 0), recording.lookups
        devices = {
            name: DeviceStatistics(did.texts, did.batches, did.tokens, did.seconds, did.taken_out)
            for name, did in recording.devices.items()
            if did.batches or did.taken_out is not None
        }
        return cls(
            texts=texts, failures=failures, cache_hits=hits, cache_misses=misses, truncated=truncated, tokens_lost=lost,
            tokens=tokens or 0, padded=round(sums["padded"]), batches=round(sums["batches"]), retries=round(sums["retries"]),
            waited=sums["waited"], devices=ByDevice(devices), told=tokens is not None, cuts_known=cuts is not None,
        )  # fmt: skip

    @property
    def failed(self) -> int:
        """Texts that have no vector."""
        return self.failures.total()

    def statistics(
        self, started: datetime, seconds: float, peak_memory_bytes: int, cpu: float, latencies: Latencies
    ) -> EmbeddingStatistics:
        """The statistics, None for what the provider cannot count."""
        known = self.counted
        p50, p95, p99 = (latencies.quantile(share) for share in (0.5, 0.95, 0.99))
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
            devices=dict(self.devices),
        )
