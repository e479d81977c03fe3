"""`vjaccel embed` and `vjaccel search` with a remote provider: its options, its failures, and where a key is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.faults.server import FaultServer, vector
from tests.unit.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("no_keys")

TEXTS = [f"text number {i}" for i in range(50)]


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as made:
        yield made


@pytest.fixture
def texts(run: Run) -> str:
    Path("in.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    return "in.txt"


def embed(run: Run, texts: str, server: FaultServer, *options: str) -> tuple[int, str, str]:
    return run("embed", texts, "-o", "out.parquet", "--model", "openai:m", "--base-url", server.url, *options)


def test_a_file_is_embedded_by_a_service_and_searched_by_the_same_one(
    run: Run, texts: str, server: FaultServer
) -> None:
    done = embed(
        run, texts, server, "--timeout", "9", "--requests-per-minute", "100", "--tokens-per-minute", "100000", "--json"
    )
    assert done[0] == 0, done[2]
    report = json.loads(done[1])
    assert report["identity"] | {"endpoint": server.url, "provider": "openai", "model": "m"} == report["identity"]
    assert report["statistics"]["tokens"] == 5 * len(TEXTS)
    vectors = np.array(pq.read_table("out.parquet")["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(vectors, np.array([vector(text) for text in TEXTS]))
    found = run("search", "out.parquet", TEXTS[7], "-k", "1", "--json")
    assert json.loads(found.out)["text"] == TEXTS[7]
    with FaultServer() as another:
        found = run("search", "out.parquet", TEXTS[8], "-k", "1", "--json", "--base-url", another.url)
        assert json.loads(found.out)["text"] == TEXTS[8]
        assert another.counts.requests == 1


def test_a_key_is_not_sent_wherever_a_file_says(
    run: Run,
    texts: str,
    server: FaultServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embed(run, texts, server)
    table = pq.read_table("out.parquet")
    told = {
        key: value.replace(server.url.encode(), b"https://example.com/v1")
        for key, value in table.schema.metadata.items()
    }
    pq.write_table(table.replace_schema_metadata(told), "out.parquet")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    done = run("search", "out.parquet", "x")
    assert (done.code, done.out) == (2, "")
    assert "was made at https://example.com/v1: pass --base-url https://example.com/v1 if you trust it" in done.err


def test_a_refusal_is_one_line_that_says_what_to_do(run: Run, texts: str, server: FaultServer) -> None:
    server.script("401*9")
    code, out, err = embed(run, texts, server)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"vjaccel: openai at {server.url} refuses the key for the model 'm' (401)")
    assert not Path("out.parquet").exists()


def test_a_missing_key_names_its_variable(run: Run, texts: str) -> None:
    done = run("embed", texts, "-o", "out.parquet", "--model", "openai:m")
    assert (done.code, "set the variable OPENAI_API_KEY" in done.err) == (1, True)


def test_an_address_without_a_scheme_is_wrong_use(run: Run, texts: str) -> None:
    done = run("embed", texts, "-o", "out.parquet", "--model", "openai:m", "--base-url", "localhost:8000/v1")
    assert (done.code, "has no scheme: write it whole" in done.err) == (2, True)


def test_the_server_of_these_tests_runs_in_a_process_of_its_own_and_says_what_it_has_done() -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.faults.server", "--port", "0", "--width", "4", "--fault", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ}) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        try:
            import vjaccel as vj

            with vj.Embedder("openai:m", base_url=f"{address}/v1") as embedder:
                assert embedder.embed(["a", "b"]).embeddings.shape == (2, 4)
                urlopen(Request(f"{address}/script", json.dumps(["503"]).encode(), method="POST")).close()
                assert embedder.embed(["a"]).statistics.retries == 1
            with urlopen(f"{address}/count") as reply:
                told = json.load(reply)
        finally:
            process.terminate()
    assert told["requests"] == 4
    assert told["embedded"] == told["acknowledged"] == {"a": 2, "b": 1}
