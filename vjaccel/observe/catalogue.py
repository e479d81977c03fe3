"""The metrics there are: what docs/monitoring.md lists, and what `metrics` counts."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["CATALOGUE", "Measure"]

SHORT = (1e-5, 1e-4, 5e-4, 1e-3, 5e-3, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
"""Seconds, for operations: from a few vectors to a whole corpus."""

LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds, for batches of texts and requests."""

TEXTS = tuple(float(1 << i) for i in range(13))


class Measure(NamedTuple):
    """One metric.

    Attributes
    ----------
    name : str
        Without ``_total``, which a counter's name gets.
    labels : tuple of str
    says : str
    over_processes : str
        Of a gauge: what the page of several processes shows, in prometheus-client's words.
    buckets : tuple of float
        Of a histogram.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    labels: tuple[str, ...]
    says: str
    over_processes: Literal["", "livesum", "livemax", "livemin"] = ""
    buckets: tuple[float, ...] = ()

    @property
    def shown(self) -> str:
        """Its name on the page."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


CATALOGUE = (
    Measure("gauge", "vjaccel_build_info", ("version",), "1, for the version that runs.", "livemax"),
    # Runs
    Measure(
        "counter",
        "vjaccel_runs",
        ("model", "outcome"),
        "Runs that ended: failed by an error, done if not.",
    ),
    Measure("gauge", "vjaccel_runs_active", ("model",), "Runs that are going on.", "livesum"),
    Measure(
        "gauge", "vjaccel_run_rows", ("model",), "Rows of the runs that go on and know how many they have.", "livesum"
    ),
    Measure(
        "gauge",
        "vjaccel_run_rows_settled",
        ("model",),
        "Those of them that need nothing more, what earlier calls of a run have done included.",
        "livesum",
    ),
    Measure(
        "gauge",
        "vjaccel_run_idle_seconds",
        ("model",),
        "Since anything came of the texts that a run has read, of the run that waits longest.",
        "livemax",
    ),
    Measure(
        "gauge",
        "vjaccel_stage_texts",
        ("model", "stage"),
        "Texts that were read and are not prepared (prepare), or were prepared and have no vector yet (embed).",
        "livesum",
    ),
    Measure("gauge", "vjaccel_workers", ("model",), "Batches that may be embedded at once.", "livesum"),
    # Texts
    Measure("counter", "vjaccel_texts", ("model", "outcome"), "Texts that are embedded, cached, duplicate or failed."),
    Measure("counter", "vjaccel_text_errors", ("model", "code"), "Texts that failed, by the code of their error."),
    Measure("counter", "vjaccel_cache_lookups", ("model", "outcome"), "Texts that were looked up, hit or miss."),
    # Batches
    Measure("counter", "vjaccel_batches", ("model", "outcome"), "Batches that came back (done), or failed."),
    Measure(
        "histogram", "vjaccel_batch_duration_seconds", ("model",), "What a batch took, without its waits.", "", LONG
    ),
    Measure("histogram", "vjaccel_batch_texts", ("model",), "Texts in a batch.", "", TEXTS),
    Measure("gauge", "vjaccel_batches_active", ("model",), "Batches that are being embedded.", "livesum"),
    Measure("gauge", "vjaccel_batch_budget_tokens", ("model",), "Tokens that the last batch was cut for.", "livemax"),
    Measure("counter", "vjaccel_tokens", ("model",), "Tokens that were embedded, where they are counted."),
    Measure("counter", "vjaccel_padding_tokens", ("model",), "Tokens that were computed as padding."),
    Measure("counter", "vjaccel_batch_retries", ("model",), "Requests to a provider that were sent again."),
    Measure(
        "counter",
        "vjaccel_batch_waiting_seconds",
        ("model",),
        "What batches waited for limits, and between attempts.",
    ),
    # Of a model on several devices
    Measure("counter", "vjaccel_device_texts", ("model", "device"), "Texts that each of several devices embedded."),
    Measure("counter", "vjaccel_device_batches", ("model", "device"), "Batches that came back from each of them."),
    Measure(
        "counter",
        "vjaccel_device_batch_seconds",
        ("model", "device"),
        "What those batches took: in a second, how many each device has at once.",
    ),
    Measure(
        "counter", "vjaccel_device_failures", ("model", "device"), "How often a device has failed and was taken out."
    ),
    # Remote providers
    Measure(
        "gauge", "vjaccel_circuit_open", ("endpoint",), "1 while an endpoint counts as down that a run asks.", "livemax"
    ),
    Measure("counter", "vjaccel_circuit_openings", ("endpoint",), "How often an endpoint has gone down."),
    Measure("gauge", "vjaccel_concurrency_limit", ("endpoint",), "Requests that may go on at once.", "livesum"),
    # Operations
    Measure(
        "histogram",
        "vjaccel_operation_duration_seconds",
        ("operation", "place"),
        "Operations on vectors by backend and device, and of collections in memory or on disk.",
        "",
        SHORT,
    ),
    Measure("counter", "vjaccel_operation_failures", ("operation", "place"), "Operations that raised."),
    # BatchProcessor
    Measure("counter", "vjaccel_processor_requests", ("operation", "outcome"), "Requests that ended, done or failed."),
    Measure("counter", "vjaccel_processor_items", ("operation", "outcome"), "Their items, processed or failed."),
    Measure(
        "histogram", "vjaccel_processor_request_duration_seconds", ("operation",), "What a request took.", "", LONG
    ),
    Measure("gauge", "vjaccel_processor_requests_active", (), "Requests that are under way.", "livesum"),
    Measure("gauge", "vjaccel_processor_batches_queued", (), "Batches of requests that wait for a thread.", "livesum"),
    # The process
    Measure("gauge", "vjaccel_memory_bytes", (), "Resident memory.", "livesum"),
    Measure("gauge", "vjaccel_memory_available_bytes", (), "What is left of the limit.", "livemin"),
    Measure("gauge", "vjaccel_memory_limit_bytes", (), "What there is: the machine's, or the container's.", "livemin"),
    Measure(
        "gauge",
        "vjaccel_device_memory_bytes",
        ("model",),
        "What a model's GPU held when it was last asked, in a run; absent where there is none.",
        "livemax",
    ),
    Measure("counter", "vjaccel_cpu_seconds", (), "Of processors, user and system."),
)
