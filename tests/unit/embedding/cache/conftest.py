"""Caches of every kind, and a Redis of our own."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.debian import program
from vjaccel.embedding.cache import Cache, open_cache

PATIENCE = 30.0
NOBODY = 65534


class RedisServer:
    """A redis-server that keeps nothing on disk, on a port of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._command = [
            program("redis-server"),
            "--port",
            "0",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(folder),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._command[2] = str(self.port)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [*self._command, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                assert self._process.poll() is None, "redis-server has ended"
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "disk", "redis"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    """An empty cache of each kind."""
    place = {"memory": "memory", "disk": str(tmp_path / "cache")}.get(request.param)
    if place is None:
        server: RedisServer = request.getfixturevalue("shared_redis")
        # A database for each worker's test: emptied first.
        import redis

        with redis.Redis(port=server.port) as client:
            client.flushall()
        place = server.url
    opened = open_cache(place)
    assert opened is not None
    yield opened
    opened.close()


@pytest.fixture
def vectors() -> Callable[..., np.ndarray]:
    """So many random vectors, the same for the same seed."""

    def of(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
        return np.random.default_rng([seed, count, dim]).standard_normal((count, dim), dtype=np.float32)

    return of


@pytest.fixture
def ordinary_user(tmp_path: Path) -> Iterator[Path]:
    """A folder of an ordinary user, whom this process is meanwhile: a superuser may write everywhere."""
    if os.geteuid():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="vjaccel-") as folder:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)
