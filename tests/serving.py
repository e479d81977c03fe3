"""`vjaccel serve` as a process, and how it is asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.unit.cli.letters import install

__all__ = ["PATIENCE", "Served", "serving"]

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0


class Served(NamedTuple):
    url: str
    process: subprocess.Popen[str]

    def client(self, **options: Any) -> Any:
        import openai

        return openai.OpenAI(**{"base_url": f"{self.url}/v1", "api_key": "none", "max_retries": 0} | options)

    def get(self, path: str) -> tuple[int, str]:
        return answered(urllib.request.Request(f"{self.url}{path}"))

    def post(self, body: bytes, **headers: str) -> tuple[int, str]:
        asked = urllib.request.Request(
            f"{self.url}/v1/embeddings", body, {"Content-Type": "application/json", **headers}
        )
        return answered(asked)


def answered(request: urllib.request.Request) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


@contextmanager
def serving(folder: Path, *options: str, **environment: str) -> Iterator[Served]:
    if not (folder / "plugins").exists():
        install(folder / "plugins")
    process = subprocess.Popen(
        [sys.executable, "-m", "vjaccel", "serve", "--port", "0", *options], cwd=folder, text=True, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{folder / 'plugins'}:{ROOT}"} | environment,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert " is at http://" in line, line + process.stderr.read()
        url = re.search(r"http://[^/ ]+", line)
        assert url is not None
        served = Served(url[0], process)
        until = time.monotonic() + PATIENCE
        while served.get("/readyz")[0] != 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        yield served
    finally:
        process.kill()
        process.communicate()
