"""A Prometheus scrapes a run while it goes on, and every query of the dashboard has an answer there."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.debian import program
from tests.faults.server import FaultServer

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
ASSETS = Path(str(files("vjaccel.observe") / "assets"))
DASHBOARD = json.loads((ASSETS / "dashboard.json").read_text())
QUERIES = [
    (f"{panel['title']} {target['refId']}", target["expr"])
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
]
WITHOUT = {
    "Memory of the GPU A": "no GPU",
    "Texts by device A": "no model on several devices",
    "Texts by device B": "no model on several devices",
    "What a batch takes, by device A": "no model on several devices",
}
"""Queries of what is not here."""

GRAFANAS = {"$__rate_interval": "10s", "$__range": "1m", "$model": ".*", "$job": ".*", "$instance": ".*"}
"""What Grafana puts in the place of its variables."""

CONFIGURATION = """
global: {{scrape_interval: 500ms, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: vjaccel
    static_configs: [{{targets: {targets}}}]
"""

OTHER = """
import time

import numpy as np
import vjaccel as vj

ids, rows = [str(i) for i in range(100)], np.random.default_rng(0).random((100, 8), np.float32)
config = vj.BatchConfig(monitoring_config={"enable_metrics": True, "metrics_port": 0})
embedder = vj.Embedder(lambda texts: rows[: len(texts)], name="rows", cache="memory")
with vj.BatchProcessor(config, embedder=embedder) as processor:
    print(processor.metrics_url, flush=True)
    while True:
        processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=ids))
        processor.process_batch_vectors(vj.BatchVectorRequest(operation="normalize", vectors=rows))
        vj.Collection("other", dim=8).insert(ids, rows)
        time.sleep(0.01)
"""
"""Uses the interface of requests and collections, until it is ended."""


class Prometheus:
    """Its HTTP API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **arguments: str) -> Any:
        """What it answers."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(arguments)}", timeout=PATIENCE) as reply:
            found = json.loads(reply.read())
        assert found["status"] == "success"
        return found["data"]

    def values(self, query: str) -> list[float]:
        """What a query finds now."""
        return [float(one["value"][1]) for one in self.get("query", query=query)["result"]]


def started(command: list[str], where: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vjaccel", *command], cwd=where, text=True, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": ""},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A run that lasts; where its metrics are."""
    program("prometheus")
    work = tmp_path_factory.mktemp("run")
    (work / "in.txt").write_text("".join(f"{'nan!' if i % 100 == 99 else 'text'} {i}\n" for i in range(100_000)))
    with FaultServer("ok*4", "429=0.01", "500", latency=0.05) as server:
        command = ["embed", "in.txt", "-o", "out.npy", "--model", "openai:m", "--base-url", server.url]
        command += ["--batch-tokens", "120", "--workers", "2", "--cache", "kept", "--metrics-port", "0"]
        with started(command, work) as process:
            assert process.stderr is not None
            try:
                said = process.stderr.readline()
                found = re.search(r"http://(\S+)/metrics", said)
                assert found is not None, said + process.stderr.read()
                yield found.group(1)
                assert process.poll() is None  # all the while
            finally:
                process.kill()
                process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def prometheus(run: str, processor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One of its own that scrapes both, once it has seen them for some seconds."""
    work = tmp_path_factory.mktemp("prometheus")
    (work / "prometheus.yml").write_text(CONFIGURATION.format(rules=ASSETS / "alerts.yml", targets=[run, processor]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program("prometheus"), "--config.file=prometheus.yml", f"--storage.tsdb.path={work / 'data'}"]
    with open(work / "log", "w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=work, stderr=log)
        try:
            asked = Prometheus(port)
            deadline = time.monotonic() + PATIENCE
            while not scraped(asked):
                assert process.poll() is None, (work / "log").read_text()
                assert time.monotonic() < deadline, (work / "log").read_text()
                time.sleep(0.2)
            yield asked
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A `BatchProcessor` that has work; where its metrics are."""
    work = tmp_path_factory.mktemp("processor")
    with subprocess.Popen(
        [sys.executable, "-c", OTHER],
        cwd=work,
        text=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip().removeprefix("http://")
            assert process.poll() is None  # all the while
        finally:
            process.kill()
            process.communicate(timeout=PATIENCE)


def scraped(prometheus: Prometheus) -> bool:
    """Whether there are enough scrapes for a rate, of both once something was done, and of a text that has failed."""
    done = (
        'vjaccel_texts_total{outcome="failed"}',
        'vjaccel_processor_items_total{outcome="processed"}',
    )
    try:
        return all(prometheus.values(f"count_over_time(({one} > 0)[1m:500ms])") >= [8.0] for one in done)
    except URLError:
        return False


def test_the_run_is_up_and_its_numbers_arrive(prometheus: Prometheus) -> None:
    targets = prometheus.get("targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")] * 2
    assert prometheus.values('rate(vjaccel_texts_total{model="openai:m", outcome="embedded"}[10s])')[0] > 0
    assert prometheus.values('vjaccel_batch_retries_total{model="openai:m"}')[0] >= 1
    assert prometheus.values('vjaccel_runs_active{model="openai:m"}') == [1.0]


def as_grafana_asks(query: str) -> str:
    for variable, stands_for in GRAFANAS.items():
        query = query.replace(variable, stands_for)
    assert "$" not in query
    return query


@pytest.mark.parametrize(
    "query", [query for name, query in QUERIES if name not in WITHOUT], ids=[n for n, _ in QUERIES if n not in WITHOUT]
)
def test_a_query_of_the_dashboard_has_an_answer(prometheus: Prometheus, query: str) -> None:
    found = prometheus.values(as_grafana_asks(query))
    assert found
    assert all(math.isfinite(value) for value in found)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_query_of_what_is_not_here_is_taken_and_has_none(prometheus: Prometheus, name: str) -> None:
    assert prometheus.values(as_grafana_asks(dict(QUERIES)[name])) == []


def test_the_alerts_are_taken_and_none_fires(prometheus: Prometheus) -> None:
    (group,) = prometheus.get("rules")["groups"]
    assert len(group["rules"]) == 7
    assert {rule["name"]: rule["lastError"] for rule in group["rules"] if rule.get("lastError")} == {}
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}  # not evaluated yet
    assert {rule["name"]: rule["alerts"] for rule in group["rules"] if rule["state"] != "inactive"} == {}
