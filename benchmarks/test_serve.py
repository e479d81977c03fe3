"""The service beside infinity's: the same model, the same requests, the same machine, in turn.

Sixteen clients, each with a connection of its own, ask one request after the other: of one to eight glosses, in base64.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
import texts
from rounds import contest

from tests.infinity import MODEL, infinity_server

CLIENTS = 16
REQUESTS = 400


@contextmanager
def our_server() -> Iterator[str]:
    command = [sys.executable, "-m", "vjaccel", "serve", "--port", "0", "--device", "cpu", "--name", MODEL]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    ) as process:
        assert process.stderr is not None
        try:
            yield process.stderr.readline().split(" is at ")[1].strip().removesuffix("/v1")
        finally:
            process.terminate()


def load(url: str, path: str, bodies: list[bytes]) -> list[float]:
    """What each request took, in seconds."""
    place = urlsplit(url)

    def client(number: int) -> list[float]:
        connection, taken = http.client.HTTPConnection(place.hostname or "", place.port, timeout=600), []
        for body in bodies[number::CLIENTS]:
            began = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            read = reply.read()
            taken.append(time.perf_counter() - began)
            assert reply.status == 200, read
        connection.close()
        return taken

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [seconds for found in pool.map(client, range(CLIENTS)) for seconds in found]


def test_serve(benchmark: pytest.FixtureRequest) -> None:
    chosen, glosses = random.Random(5), texts.glosses()
    wanted = [[chosen.choice(glosses) for _ in range(chosen.randint(1, 8))] for _ in range(REQUESTS)]
    bodies = [json.dumps({"model": MODEL, "input": one, "encoding_format": "base64"}).encode() for one in wanted]
    latencies: dict[str, list[float]] = {"vjaccel serve": [], "infinity": []}
    with infinity_server() as other, our_server() as ours:
        places = {"vjaccel serve": (ours, "/v1/embeddings"), "infinity": (other, "/embeddings")}

        def ask(name: str) -> None:
            latencies[name] = load(*places[name], bodies)

        contest(
            benchmark,
            "serve",
            {name: lambda name=name: ask(name) for name in places},
            rounds=3,
            work=sum(map(len, wanted)),
        )
    for share in (50, 99):
        benchmark.extra_info[f"p{share}_ms"] = {
            name: round(float(np.percentile(taken, share)) * 1e3, 1) for name, taken in latencies.items()
        }
