"""What many workers share: the time of a question to the limit in Redis, and of merging what many shards have found."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np
import redis

from vjaccel.collection.sharded.shard import Found
from vjaccel.collection.sharded.view import merged
from vjaccel.embedding.limits.shared import BEGIN, END, MEMBER

__all__ = ["measured_limit", "measured_merge"]

LOGS = (100, 1_000, 10_000)
"""Requests of the last minute."""

SHARDS, K = (10, 100, 1_000), 10
SECONDS = 1.0


def measured_limit() -> list[dict[str, Any]]:
    """Seconds of a question that is answered with a yes, and with a no, by how many requests are in the log."""
    if shutil.which("redis-server") is None:
        return []
    with _redis() as client:
        begin, end = client.register_script(BEGIN), client.register_script(END)
        found = []
        for log in LOGS:
            client.flushall()
            keys = [f"scale:{{x}}:{part}" for part in ("uses", "tokens", "sum", "paused", "members")]

            def ask(most: int, keys: list[str] = keys) -> str:
                use = uuid4().hex
                begin(keys, [0, most, 1, use, "me", MEMBER, 600])
                return use

            for _ in range(log):
                ask(10 * max(LOGS))
            refused = _seconds(lambda log=log: ask(log))  # type: ignore[misc]

            def both(keys: list[str] = keys) -> None:
                end(keys[:3], [ask(10 * max(LOGS)), "1"])

            found.append({"log": log, "refused": refused, "granted": _seconds(both, 200)})
        return found


def measured_merge() -> list[dict[str, Any]]:
    """Seconds of merging the best `K` of each shard, for one query."""
    rng, found = np.random.default_rng(0), []
    for shards in SHARDS:
        scores = -np.sort(-rng.random((shards, 1, K)), axis=2)
        order = rng.permutation(shards * K).reshape(shards, 1, K)
        parts = {i: Found(scores[i], order[i], order[i], "float32") for i in range(shards)}
        found.append({"shards": shards, "k": K, "seconds": _seconds(lambda parts=parts: merged(parts, K))})  # type: ignore[misc]
    return found


def _seconds(call: Any, most: int = 100_000) -> float:
    """Of one call, the mean of those within a second."""
    began, calls = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < SECONDS and calls < most:
        call()
        calls += 1
    return took / calls if calls < most else (time.perf_counter() - began) / calls


@contextmanager
def _redis() -> Iterator[Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with TemporaryDirectory() as folder:
        process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--save", "", "--dir", folder, "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
        )
        try:
            with redis.Redis(port=port, decode_responses=True) as client:
                while True:
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        time.sleep(0.05)
                yield client
        finally:
            process.terminate()
            process.wait()
