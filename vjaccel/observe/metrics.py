"""What happens, counted as Prometheus wants it. Needs prometheus-client; nothing imports this before it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vjaccel import __version__
from vjaccel.observe.catalogue import CATALOGUE, Measure
from vjaccel.observe.memory import memory_available, memory_limit
from vjaccel.telemetry import (
    BatchEnded,
    BatchesEnded,
    CacheLookedUp,
    Called,
    CircuitChanged,
    ConcurrencyChanged,
    DeviceTakenOut,
    Happened,
    Recording,
    RequestEnded,
    RunBegan,
    RunEnded,
    TextsSettled,
    TriedAgain,
)

if TYPE_CHECKING:
    from vjaccel.observe.monitor import Load

__all__ = ["Metrics", "shared_metrics"]

VALUES = 50
"""Values of a label that are kept apart, at most: a page must not grow with what users name."""

OTHERS = "other"

SUMMED = ("runs_active", "run_rows", "run_rows_settled", "workers", "batches_active", "prepare", "embed")
"""Of all runs of a model; of the others, the highest is told."""

HIGHEST = ("run_idle_seconds", "batch_budget_tokens")

OUTCOMES = ("embedded", "cached", "duplicate", "failed")

STAGES = ("prepare", "embed")


class Metrics:
    """Counts what it hears, and looks at what must be looked at.

    Attributes
    ----------
    registry : CollectorRegistry
        One of its own.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._of = {measure.name.removeprefix("vjaccel_"): self._made(measure) for measure in CATALOGUE}
        self._models, self._codes, self._endpoints, self._operations, self._places = (_Bounded() for _ in range(5))
        self._devices = _Bounded()
        self._by_model: dict[str, _OfModel] = {}
        self._by_device: dict[tuple[str, str], _OfDevice] = {}
        self._by_operation: dict[tuple[str, str], tuple[Histogram, Counter]] = {}
        self._process = psutil.Process()
        # By the process' number: a fork counts its own.
        self._cpu: dict[int, float] = {}
        self._open: dict[str, bool] = {}
        self._looking = threading.Lock()
        self._of["build_info"].labels(__version__).set(1)

    def heard(self, happened: Happened) -> None:
        """Count it."""
        event = happened.event
        match event:
            case BatchEnded():
                self._model(happened.model).batch(event)
                if event.device and not event.failed:
                    self._device(happened.model, event.device).did(event.texts, 1, event.seconds)
            case BatchesEnded():
                self._model(happened.model).batches(event)
                for device, did in event.devices.items():
                    self._device(happened.model, device).did(*did)
            case DeviceTakenOut():
                self._device(happened.model, event.device).failures.inc()
            case TextsSettled():
                self._model(happened.model).texts[event.outcome].inc(event.texts)
                if event.code is not None:
                    labels = self._models(happened.model), self._codes(event.code)
                    self._of["text_errors"].labels(*labels).inc(event.texts)
            case TriedAgain():
                self._model(happened.model).tried_again(event)
            case CacheLookedUp():
                self._model(happened.model).hits.inc(event.hits)
                self._model(happened.model).misses.inc(event.misses)
            case RunBegan():
                self._model(happened.model)
            case RunEnded():
                self._model(happened.model).runs[event.failed].inc()
            case CircuitChanged():
                endpoint = self._endpoints(event.endpoint)
                self._open[event.endpoint] = event.is_open
                self._of["circuit_open"].labels(endpoint).set(event.is_open)
                self._of["circuit_openings"].labels(endpoint).inc(event.is_open)
            case ConcurrencyChanged():
                self._of["concurrency_limit"].labels(self._endpoints(event.endpoint)).set(event.limit)
            case Called():
                durations, failures = self._operation(event.operation, event.place)
                durations.observe(event.seconds)
                if event.failed:
                    failures.inc()
            case RequestEnded():
                self._request(event)

    def look(self, runs: Collection[Recording], loads: Iterable[Load]) -> None:
        """Bring up to date what tells of nothing by itself: how far runs are, what waits, memory."""
        with self._looking:
            # Of a model whose runs are over, too.
            seen = {(model, name): 0.0 for model in self._models.known for name in (*SUMMED, *HIGHEST)}
            for run in runs:
                model = self._models(run.model)
                for name, value in _of_run(run).items():
                    before = seen.get((model, name), 0.0)
                    seen[model, name] = before + value if name in SUMMED else max(before, value)
            for (model, name), value in seen.items():
                if name in STAGES:
                    self._of["stage_texts"].labels(model, name).set(value)
                else:
                    self._of[name].labels(model).set(value)
            self._look_at_circuits({run.model.partition(":")[0] for run in runs})
            found = list(loads)
            self._of["processor_requests_active"].set(sum(load.active for load in found))
            self._of["processor_batches_queued"].set(sum(load.queued for load in found))
            self._of["memory_bytes"].set(self._process.memory_info().rss)
            self._of["memory_available_bytes"].set(memory_available())
            self._of["memory_limit_bytes"].set(memory_limit())
            times = self._process.cpu_times()
            used, before = times.user + times.system, self._cpu.get(self._process.pid, 0.0)
            self._of["cpu_seconds"].inc(max(0.0, used - before))
            self._cpu[self._process.pid] = used

    def _look_at_circuits(self, providers: set[str]) -> None:
        """Of providers that no run asks any more nobody finds out that they are back: their circuits are not shown as open."""
        # By label, since several endpoints may have one; a copy, since others hear of more meanwhile.
        found: dict[str, bool] = {}
        for endpoint, is_open in self._open.copy().items():
            label = self._endpoints(endpoint)
            asked = endpoint.partition(" at ")[0] in providers
            found[label] = found.get(label, False) or (is_open and asked)
        for label, shown in found.items():
            self._of["circuit_open"].labels(label).set(shown)

    def _made(self, measure: Measure) -> Any:
        if measure.kind == "gauge":
            assert measure.over_processes
            return Gauge(
                measure.name, measure.says, measure.labels, registry=self.registry,
                multiprocess_mode=measure.over_processes,
            )  # fmt: skip
        if measure.kind == "histogram":
            return Histogram(
                measure.name, measure.says, measure.labels, registry=self.registry, buckets=measure.buckets
            )
        return Counter(measure.name, measure.says, measure.labels, registry=self.registry)

    def _model(self, name: str) -> _OfModel:
        label = self._models(name)
        found = self._by_model.get(label)
        if found is None:
            # By two threads at once it is two of the same.
            found = self._by_model[label] = _OfModel(self._of, label)
        return found

    def _device(self, model: str, name: str) -> _OfDevice:
        labels = self._models(model), self._devices(name)
        found = self._by_device.get(labels)
        if found is None:
            found = self._by_device[labels] = _OfDevice(self._of, labels)
        return found

    def _operation(self, name: str, place: str) -> tuple[Histogram, Counter]:
        labels = self._operations(name), self._places(place)
        found = self._by_operation.get(labels)
        if found is None:
            of = self._of["operation_duration_seconds"], self._of["operation_failures"]
            found = self._by_operation[labels] = of[0].labels(*labels), of[1].labels(*labels)
        return found

    def _request(self, event: RequestEnded) -> None:
        operation = self._operations(event.operation)
        self._of["processor_requests"].labels(operation, "failed" if event.failed else "done").inc()
        self._of["processor_request_duration_seconds"].labels(operation).observe(event.seconds)
        self._of["processor_items"].labels(operation, "processed").inc(event.processed)
        self._of["processor_items"].labels(operation, "failed").inc(event.failed_items)


@lru_cache(maxsize=1)
def shared_metrics() -> Metrics:
    """Those of this process where several share a folder.

    All of a process write into one file, and each remembers what it has written there: a second one would write over what the
    first has counted since.
    """
    return Metrics()


class _OfModel:
    """What is counted of one model, by its first run at zero: a rate is that of what was there before.

    Finding a metric by its labels takes longer than to count; a run of a fast model would notice.
    """

    def __init__(self, of: Mapping[str, Any], model: str) -> None:
        self.texts = {outcome: of["texts"].labels(model, outcome) for outcome in OUTCOMES}
        self.runs = {failed: of["runs"].labels(model, "failed" if failed else "done") for failed in (False, True)}
        self.hits, self.misses = (of["cache_lookups"].labels(model, outcome) for outcome in ("hit", "miss"))
        self._batches = {
            failed: of["batches"].labels(model, "failed" if failed else "done") for failed in (False, True)
        }
        self._seconds, self._sizes = of["batch_duration_seconds"].labels(model), of["batch_texts"].labels(model)
        self._tokens, self._padding = of["tokens"].labels(model), of["padding_tokens"].labels(model)
        self._retries, self._waiting = of["batch_retries"].labels(model), of["batch_waiting_seconds"].labels(model)

    def batches(self, event: BatchesEnded) -> None:
        """Count them."""
        self._batches[True].inc(event.failed)
        self._batches[False].inc(sum(event.seconds.values()))
        for seconds, count in event.seconds.items():
            for _ in range(count):
                self._seconds.observe(seconds)
        for count, texts in event.sizes.values():
            for _ in range(count):
                self._sizes.observe(texts / count)
        self._tokens.inc(event.tokens)
        self._padding.inc(max(0, event.padded - event.tokens))

    def tried_again(self, event: TriedAgain) -> None:
        """Count it."""
        self._retries.inc(event.retries)
        self._waiting.inc(event.waited)

    def batch(self, event: BatchEnded) -> None:
        """Count it."""
        self._batches[event.failed].inc()
        if event.failed:
            return
        self._seconds.observe(event.seconds)
        self._sizes.observe(event.texts)
        tokens = event.tokens or 0
        if tokens:
            self._tokens.inc(tokens)
        if event.padded is not None and event.padded > tokens:
            self._padding.inc(event.padded - tokens)


class _OfDevice:
    """What is counted of one of several devices."""

    def __init__(self, of: Mapping[str, Any], labels: tuple[str, str]) -> None:
        kinds = ("texts", "batches", "batch_seconds", "failures")
        self._texts, self._batches, self._seconds, self.failures = (
            of[f"device_{kind}"].labels(*labels) for kind in kinds
        )

    def did(self, texts: int, batches: int, seconds: float) -> None:
        """Count batches that came back."""
        self._texts.inc(texts)
        self._batches.inc(batches)
        self._seconds.inc(seconds)


class _Bounded:
    """The values of a label: the first ones as they are, the others as one."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self.known:
            return value
        if value and len(self.known) >= VALUES:
            value = OTHERS
        if value and value not in self.known:
            self.known = self.known | {value}  # a new one: others go through the old one
        return value


def _of_run(run: Recording) -> dict[str, float]:
    stages, (rows, settled) = run.stages, run.rows or (0, 0)
    return {
        "runs_active": 1,
        "run_rows": rows,
        "run_rows_settled": settled,
        "run_idle_seconds": run.idle,
        "workers": stages.workers,
        "batches_active": stages.at_work,
        "batch_budget_tokens": stages.budget or 0,
        # On a processor alone there is none, which is not the same as none in use.
        **({} if run.device_bytes is None else {"device_memory_bytes": run.device_bytes}),
        "prepare": max(0, stages.read - stages.prepared),
        "embed": max(0, stages.prepared - stages.settled),
    }
