"""`vjaccel serve` as it runs, asked by OpenAI's own client and by bare HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from tests.serving import PATIENCE, Served, serving
from tests.unit.cli.letters import install, letters

openai = pytest.importorskip("openai")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), "--model", "letters:32", "--name", "abc") as found:
        yield found


def test_openais_client_gets_vectors_in_order_in_both_encodings(served: Served) -> None:
    client, texts = served.client(), ["one text", "two", "", "one text"]
    for encoding in ("base64", "float"):
        found = client.embeddings.create(model="abc", input=texts, encoding_format=encoding)
        assert [one.index for one in found.data] == [0, 1, 2, 3]
        got = [one.embedding for one in found.data]
        if encoding == "base64":
            import base64

            got = [np.frombuffer(base64.b64decode(one), "<f4") for one in got]
        np.testing.assert_allclose(np.array(got, np.float32), letters(32, texts), atol=1e-7)
    # Not said: the client asks for base64, and decodes it.
    one = client.embeddings.create(model="letters:32", input="one text")
    np.testing.assert_allclose(one.data[0].embedding, letters(32, ["one text"])[0], atol=1e-7)
    assert {model.id for model in client.models.list()} == {"abc", "letters:32", "32"}
    assert client.models.retrieve("abc").owned_by == "vjaccel"


def test_fewer_dimensions_are_the_first_ones_of_norm_one(served: Served) -> None:
    found = served.client().embeddings.create(model="abc", input=["some text"], dimensions=8)
    cut = letters(32, ["some text"])[:, :8]
    np.testing.assert_allclose([found.data[0].embedding], cut / np.linalg.norm(cut), atol=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "Invalid JSON"),
        (b"[]", 400, "object"),
        (b'{"model": "abc"}', 400, "input: Field required"),
        (b'{"model": "abc", "input": []}', 400, "not empty"),
        (b'{"model": "abc", "input": [1, 2]}', 400, "send texts"),
        (b'{"model": "abc", "input": ["a", null]}', 400, "number 1 is no text"),
        (b'{"model": "abc", "input": "a", "encoding_format": "hex"}', 400, "encoding_format"),
        (b'{"model": "abc", "input": "a", "dimensions": 0}', 400, "dimensions"),
        (b'{"model": "abc", "input": "a", "dimensions": 33}', 400, "have 32"),
        (b'{"model": "other", "input": "a"}', 404, "there is no model 'other' here"),
        (b'{"model": "abc", "input": ["a", "FAIL"]}', 502, "input 1: "),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else None,
)
def test_what_is_asked_wrongly_is_refused_as_openai_does(served: Served, body: bytes, status: int, said: str) -> None:
    code, text = served.post(body)
    error = json.loads(text)["error"]
    assert (code, said in error["message"]) == (status, True), text
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")


def test_unknown_places_and_methods_are_refused(served: Served) -> None:
    assert served.get("/v1/chat")[0] == 404
    assert served.get("/v1/embeddings")[0] == 405
    assert served.get("/v1/models/none")[0] == 404
    for place in ("/v1/chat", "/v1/embeddings"):
        error = json.loads(served.get(place)[1])["error"]
        assert place in error["message"]
        assert error["type"] == "invalid_request_error"


def test_what_is_no_http_is_answered_and_nothing_is_said_of_it(tmp_path: Path) -> None:
    with serving(tmp_path, "--model", "letters:8") as served:
        with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as client:
            client.sendall(b"no http\r\n\r\n")
            assert b"400" in client.recv(4096)
        served.process.terminate()
        assert served.process.communicate(timeout=PATIENCE)[1] == ""


def test_health_readiness_and_metrics_are_beside_it(served: Served) -> None:
    served.client().embeddings.create(model="abc", input=["measured"] * 3)
    assert served.get("/healthz") == (200, "ok")
    assert served.get("/readyz") == (200, "ok")
    status, page = served.get("/metrics")
    assert status == 200
    assert 'vjaccel_texts_total{model="letters:32",outcome="embedded"}' in page
    assert 'operation="serve.embeddings"' in page


def test_many_clients_at_once_each_get_their_own(served: Served) -> None:
    client = served.client()

    def ask(i: int) -> bool:
        texts = [f"client {i} text {j}" for j in range(1 + i % 5)]
        found = client.embeddings.create(model="abc", input=texts)
        return bool(np.allclose([one.embedding for one in found.data], letters(32, texts), atol=1e-6))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


def test_limits_of_a_request_and_of_all_together(tmp_path: Path) -> None:
    options = ("--model", "letters:8", "--max-texts", "100", "--max-body", "20000", "--max-waiting", "100")
    with serving(tmp_path, *options) as served:
        many = json.dumps({"model": "letters:8", "input": ["a"] * 101}).encode()
        assert served.post(many)[0] == 413
        assert served.post(json.dumps({"model": "letters:8", "input": "a" * 20000}).encode())[0] == 413
        slow = json.dumps({"model": "letters:8", "input": [f"SLOW {i}" for i in range(100)]}).encode()
        with ThreadPoolExecutor(8) as pool:
            codes = [code for code, _ in pool.map(served.post, [slow] * 8)]
        assert set(codes) == {200, 429}
        # OpenAI's client waits as long as it is told to, and comes again.
        with ThreadPoolExecutor(4) as pool:
            patient = served.client(max_retries=20)
            texts = [f"SLOW {i}" for i in range(100)]
            found = list(pool.map(lambda _: patient.embeddings.create(model="letters:8", input=texts), range(4)))
        assert [len(one.data) for one in found] == [100] * 4


def test_a_token_is_asked_for_where_there_is_one(tmp_path: Path) -> None:
    with serving(tmp_path, "--model", "letters:8", VJACCEL_SERVE_TOKEN="sesame") as served:
        with pytest.raises(openai.AuthenticationError, match="token is missing or wrong"):
            served.client(api_key="wrong").embeddings.create(model="letters:8", input="a")
        with pytest.raises(openai.AuthenticationError):
            served.client(api_key="wrong").models.list()
        assert len(served.client(api_key="sesame").embeddings.create(model="letters:8", input="a").data) == 1
        assert served.get("/healthz")[0] == 200  # whoever watches it need not know


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_stopped_answers_what_it_has_been_asked(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "asked"
    with serving(tmp_path, "--model", "letters:8", LETTERS_LOG=str(log)) as served:
        texts = [f"SLOW {i}" for i in range(600)]
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(served.client().embeddings.create, model="letters:8", input=texts)
            until = time.monotonic() + PATIENCE
            while not log.exists():
                assert time.monotonic() < until
                time.sleep(0.01)
            served.process.send_signal(number)
            assert len(asked.result(PATIENCE).data) == 600
        assert served.process.wait(PATIENCE) == 0
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{served.url}/readyz", timeout=5)


def test_texts_of_a_client_that_has_gone_are_taken_back(tmp_path: Path) -> None:
    log = tmp_path / "asked"
    with serving(tmp_path, "--model", "letters:8", LETTERS_LOG=str(log)) as served:
        body = json.dumps({"model": "letters:8", "input": [f"SLOW {i}" for i in range(2000)]}).encode()
        host, _, port = served.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as gone:
            gone.sendall(
                b"POST /v1/embeddings HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                % len(body)
                + body
            )
            while not log.exists():
                time.sleep(0.01)
        served.client().embeddings.create(model="letters:8", input="next")
        assert len(log.read_text().splitlines()) < 1900


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--port", "{taken}"), 1, "cannot listen at 127.0.0.1:{taken}: Address already in use"),
        (("--host", "192.0.2.1"), 1, "cannot listen at 192.0.2.1:"),
        (("--model", "nobody:8"), 2, "nobody"),
        (("--port", "70000"), 2, "65535"),
    ],
)
def test_what_keeps_it_from_starting_is_said(tmp_path: Path, options: tuple[str, ...], code: int, said: str) -> None:
    install(tmp_path / "plugins")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "vjaccel", "serve", "--model", "letters:8", *(x.format(taken=port) for x in options)],
            cwd=tmp_path, text=True, capture_output=True, check=False, timeout=PATIENCE,
            env=os.environ | {"PYTHONPATH": f"{tmp_path / 'plugins'}:{ROOT}"},
        )  # fmt: skip
    assert (done.returncode, said.format(taken=port) in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_token_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vjaccel", "serve", "--port", "0"], cwd=tmp_path, text=True, capture_output=True, check=False,
        env=os.environ | {"VJACCEL_SERVE_TOKEN": "", "PYTHONPATH": str(ROOT)}, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, "is set to nothing" in done.stderr) == (2, True)


def test_the_real_model_gives_the_local_providers_vectors_and_counts_tokens(tmp_path: Path) -> None:
    texts = ["melt butter", "a floor plan", "the quick brown fox " * 30, ""]
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu") as embedder:
        wanted = embedder.embed(texts)
    with serving(tmp_path, "--device", "cpu") as served:
        found = served.client().embeddings.create(model="all-MiniLM-L6-v2", input=texts)
        with vj.Embedder("openai:all-MiniLM-L6-v2", base_url=f"{served.url}/v1") as remote:
            through = remote.embed(texts[:3])
    np.testing.assert_allclose([one.embedding for one in found.data], wanted.embeddings, atol=1e-5)
    np.testing.assert_allclose(through.embeddings, wanted.embeddings[:3], atol=1e-5)
    assert wanted.tokens is not None
    assert found.usage.prompt_tokens == wanted.tokens.sum() == wanted.statistics.tokens
    assert through.statistics.tokens == wanted.tokens[:3].sum()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("vjaccel-serve")]
