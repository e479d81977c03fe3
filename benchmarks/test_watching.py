"""What watching costs: the same run with metrics served and scraped each second, and without, in turn. Bar: within 2%.

So with a report too, of a whole command, scraped as Prometheus does by itself; a report takes some seconds, however long the
run was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import numpy as np
import pytest
import texts

import vjaccel as vj
from vjaccel.observe import Monitor

WIDTH = 384
EVERY = 1.0
"""Seconds between two scrapes: more often than anyone does."""


SETTLING = 0.02
"""Seconds until threads that were started wait for something."""


class Scraper:
    """As a Prometheus of what is watched now and then: it scrapes after each second of that, however short a time each is."""

    def __init__(self) -> None:
        self.scrapes = 0
        self._left = EVERY

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Metrics are served and scraped; a scrape that fails is an error."""
        ended = threading.Event()
        with Monitor() as monitor, ThreadPoolExecutor(1) as pool:
            scraping = pool.submit(self._scrape, f"{monitor.url}/metrics", ended)
            try:
                yield
            finally:
                ended.set()
            scraping.result()

    def _scrape(self, url: str, ended: threading.Event) -> None:
        began = time.perf_counter()
        while not ended.wait(max(0.0, began + self._left - time.perf_counter())):
            with urlopen(url) as reply:
                reply.read()
            self.scrapes += 1
            began, self._left = time.perf_counter(), EVERY
        self._left -= time.perf_counter() - began


class Took(NamedTuple):
    """Seconds of a call, by the clock and of processors."""

    clock: float
    processors: float


def timed(call: Callable[[], object], times: int) -> Took:
    time.sleep(SETTLING)
    call()
    clock, processors = time.perf_counter(), time.process_time()
    for _ in range(times):
        call()
    return Took((time.perf_counter() - clock) / times, (time.process_time() - processors) / times)


def compare(benchmark: Any, call: Callable[[], object], rounds: int, times: int, work: int) -> None:
    """Seconds of a call watched and not, one right after the other; which is first changes from round to round.

    The machine is quicker at some times than at others, by more than watching costs: what counts is the median of the ratios of
    each round, whose two measurements it was the same for. A scrape each second takes a thousandth beside them.
    """
    watched: list[Took] = []
    plain: list[Took] = []
    scraper = Scraper()
    call()

    def with_metrics() -> None:
        with scraper.watching():
            watched.append(timed(call, times))

    def without() -> None:
        plain.append(timed(call, times))

    def all_rounds() -> None:
        for number in range(rounds):
            for measure in (with_metrics, without)[:: 1 if number % 2 else -1]:
                measure()

    benchmark.pedantic(all_rounds, rounds=1)
    assert scraper.scrapes > 0
    benchmark.extra_info["bar"] = "watching"
    for key, of in (("best_ms", min), ("median_ms", median)):
        benchmark.extra_info[key] = {
            name: round(of([one.clock for one in all_]) * 1e3, 4)
            for name, all_ in (("vjaccel", watched), ("unwatched", plain))
        }
    clock, processors = (
        median(ours / theirs for ours, theirs in zip(*both, strict=True))
        for both in (
            ([one.clock for one in watched], [one.clock for one in plain]),
            ([one.processors for one in watched], [one.processors for one in plain]),
        )
    )
    benchmark.extra_info["times_unwatched"] = round(clock, 4)
    benchmark.extra_info["cost"] = f"{clock - 1:+.1%} by the clock, {processors - 1:+.1%} of processors"
    benchmark.extra_info["work"] = work


def test_the_model_on_this_cpu(benchmark) -> None:
    some = texts.glosses()[:200]
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu", batch_tokens=1024) as embedder:
        compare(benchmark, lambda: embedder.embed(some), rounds=60, times=1, work=len(some))


def test_a_function_that_answers_at_once(benchmark) -> None:
    some = [f"this is text number {i}, about as long as the gloss of a word in a dictionary" for i in range(4000)]
    answer = np.ones((1024, WIDTH), np.float32)
    with vj.Embedder(lambda asked: answer[: len(asked)]) as embedder:
        compare(benchmark, lambda: embedder.embed(some), rounds=100, times=25, work=len(some))


def test_vectors_one_at_a_time(benchmark) -> None:
    vectors = np.random.default_rng(0).standard_normal((50_000, WIDTH), dtype=np.float32)
    corpus = vj.Corpus(vectors)
    compare(benchmark, lambda: corpus.topk(vectors[:1]), rounds=100, times=25, work=1)


COMMAND_ROUNDS, COMMAND_ROWS = 4, 20_000
"""Some two minutes a run on a core."""

SCRAPE_SECONDS = 15.0
"""As Prometheus does by itself."""

METRICS_PORT = 19_477


class Prometheus:
    """What scrapes a command each quarter of a minute, and once more where it waits for that."""

    def __init__(self) -> None:
        self.scrapes = 0
        self._due, self._ended = threading.Event(), False

    def heed(self, process: subprocess.Popen[str]) -> None:
        """Read what the command says until it ends."""
        assert process.stderr is not None
        with ThreadPoolExecutor(1) as pool:
            scraping = pool.submit(self._scrape)
            try:
                for line in process.stderr:
                    if "wait" in line and "to be scraped" in line:
                        self._due.set()
            finally:
                self._ended = True
                self._due.set()
            scraping.result()

    def _scrape(self) -> None:
        while True:
            self._due.wait(SCRAPE_SECONDS)
            self._due.clear()
            if self._ended:
                return
            try:
                with urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics") as reply:
                    reply.read()
                self.scrapes += 1
            except HTTPError:
                raise
            except (ConnectionError, URLError):
                pass  # before and after it serves the page it is down, which stops no Prometheus


def test_a_command_with_metrics_and_a_report(benchmark, tmp_path: Path) -> None:
    """Both at the same time on a core each, which they change in the next round: in turn, the machine differs more."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("there is one core")
    glosses, source = texts.glosses(), tmp_path / "in.jsonl"
    rows = [json.dumps({"text": f"{glosses[i % len(glosses)]} {i}"}) for i in range(COMMAND_ROWS)]
    source.write_text("\n".join(rows))
    seconds: dict[str, list[float]] = {"vjaccel": [], "unwatched": []}
    watching = ["--metrics-port", str(METRICS_PORT), "--report", str(tmp_path / "run.html")]

    def command(name: str, core: int, heed: Callable[[subprocess.Popen[str]], object]) -> None:
        command = [sys.executable, "-m", "vjaccel", "embed", str(source), "-o", str(tmp_path / f"{name}.parquet")]
        own = watching if name == "vjaccel" else []
        began = time.perf_counter()
        with subprocess.Popen([*command, "--restart", *own], stderr=subprocess.PIPE, text=True) as process:
            os.sched_setaffinity(process.pid, {core})
            heed(process)
        assert process.returncode == 0
        seconds[name].append(time.perf_counter() - began)

    def a_round(watched: int, plain: int) -> None:
        prometheus = Prometheus()
        with ThreadPoolExecutor(2) as pool:
            both = (
                pool.submit(command, "vjaccel", watched, prometheus.heed),
                pool.submit(command, "unwatched", plain, lambda process: process.stderr.read()),
            )
            for each in both:
                each.result()
        assert prometheus.scrapes > 0

    def all_rounds() -> None:
        for number in range(COMMAND_ROUNDS):
            a_round(*cores[:: 1 if number % 2 else -1])

    benchmark.pedantic(all_rounds, rounds=1)
    benchmark.extra_info["bar"] = "watching"
    for key, of in (("best_ms", min), ("median_ms", median)):
        benchmark.extra_info[key] = {name: round(of(all_) * 1e3, 1) for name, all_ in seconds.items()}
    times = geometric_mean(ours / theirs for ours, theirs in zip(*seconds.values(), strict=True))
    benchmark.extra_info["times_unwatched"] = round(times, 4)
    benchmark.extra_info["cost"] = f"{times - 1:+.1%} by the clock"
    benchmark.extra_info["work"] = COMMAND_ROWS
