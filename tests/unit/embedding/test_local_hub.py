"""Models from a hub: what is fetched, what is left out, and that it is found again without the hub."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import vjaccel as vj
from tests.unit.embedding.tiny_models import Tiny

COMMIT = "c" * 40

TWICE = """
import sys
from huggingface_hub import constants
from vjaccel.embedding.models import locate
for constants.HF_HUB_OFFLINE in (False, True):
    try:
        print(locate("someone/tiny", revision=None, allow_pickle="pickle" in sys.argv))
    except OSError as exc:
        print(f"{type(exc).__name__}: {exc}")
"""
"""Asks for a model, and then for the same one when the hub is out of reach."""


@pytest.fixture
def served(tmp_path: Path, tiny: Callable[[str], Tiny]) -> Path:
    """The folder of the one model that the hub has."""
    folder = Path(shutil.copytree(tiny("mean").folder, tmp_path / "served"))
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"another engine's")
    return folder


@pytest.fixture
def endpoint(served: Path) -> Iterator[str]:
    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            files = sorted(file.relative_to(served).as_posix() for file in served.rglob("*") if file.is_file())
            name = path.removeprefix(f"/someone/tiny/resolve/{COMMIT}/")
            if path.startswith("/api/models/someone/tiny/revision/"):
                siblings = [{"rfilename": file} for file in files]
                self.answer(json.dumps({"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}).encode())
            elif path.startswith("/api/models/someone/tiny/tree/"):
                self.answer(json.dumps([self.entry(file) for file in files]).encode())
            elif name in files:
                self.answer((served / name).read_bytes())
            else:
                self.send_error(404)

        do_HEAD = do_GET  # noqa: N815  # the library's name

        def entry(self, file: str) -> dict[str, object]:
            content = (served / file).read_bytes()
            return {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

        def answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json" if "/api/" in self.path else "application/octet-stream")
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


def asked_twice(endpoint: str, cache: Path, *arguments: str) -> list[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache)}
    environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", TWICE, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_fetched_model_is_found_again_without_the_hub(
    endpoint: str, tmp_path: Path, tiny: Callable[[str], Tiny]
) -> None:
    fetched, again = asked_twice(endpoint, tmp_path / "cache")
    assert fetched == again
    assert not (Path(fetched) / "onnx").exists(), "another engine's weights were fetched"
    with vj.Embedder(f"local:{fetched}", device="cpu") as embedder:
        np.testing.assert_allclose(
            embedder.embed(["a b"]).embeddings, tiny("mean").model.encode(["a b"]), rtol=0, atol=1e-5
        )


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_pickles_are_not_even_fetched_unless_asked_for(endpoint: str, served: Path, tmp_path: Path) -> None:
    pickled(served)
    fetched, _ = asked_twice(endpoint, tmp_path / "cache")
    assert fetched.startswith("ModelUnavailable: the hub has no safetensors weights")
    assert "allow_pickle=True, if you trust 'someone/tiny'" in fetched
    assert not list((tmp_path / "cache").rglob("*.bin"))


def test_pickles_are_fetched_if_asked_for_after_all(endpoint: str, served: Path, tmp_path: Path) -> None:
    pickled(served)
    asked_twice(endpoint, tmp_path / "cache")
    fetched, again = asked_twice(endpoint, tmp_path / "cache", "pickle")
    assert fetched == again
    assert (Path(fetched) / "pytorch_model.bin").is_file()
