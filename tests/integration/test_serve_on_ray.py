"""`vjaccel serve --engine ray`: two replicas on a Ray of their own, asked by OpenAI's client; replicas are killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import psutil
import pytest

from tests.faults.server import FaultServer
from tests.ray_nodes import ROOT, Nodes
from tests.serving import PATIENCE, Served, serving
from tests.unit.cli.letters import install, letters
from tests.unit.embedding.cache.conftest import redis_server

openai = pytest.importorskip("openai")

TOKEN = "sesame"
MODEL = "letters:32"

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the replicas were asked for, a text a line."""
    path = tmp_path_factory.mktemp("log") / "asked.txt"
    path.touch()
    return path


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With which replicas answer what was held until then."""
    return tmp_path_factory.mktemp("free") / "free"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, log: Path, free: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    options = ("--model", MODEL, "--name", "abc", "--engine", "ray", "--replicas", "2")
    limits = ("--max-texts", "400", "--max-body", "20000", "--max-waiting", "500")
    environment = {"VJACCEL_SERVE_TOKEN": TOKEN, "LETTERS_LOG": str(log), "LETTERS_FREE": str(free)}
    with serving(folder, *options, *limits, **environment) as found:
        yield found


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Any]:
    with served.client(api_key=TOKEN) as made:
        yield made


def replicas(served: Served) -> set[psutil.Process]:
    """The processes of the replicas."""
    return processes(served, "ray::ServeReplica")


def processes(served: Served, name: str) -> set[psutil.Process]:
    """Those whose name begins so, which the service's own Ray has begun."""
    found = set()
    for process in psutil.Process(served.process.pid).children(recursive=True):
        try:
            if process.cmdline()[0].startswith(name):
                found.add(process)
        except (psutil.Error, IndexError):
            continue
    return found


def until_replicas(served: Served, count: int) -> set[psutil.Process]:
    until = time.monotonic() + PATIENCE
    while len(found := replicas(served)) != count:
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


def test_openais_client_gets_vectors_in_order_from_each_replica(client: Any) -> None:
    texts = [["one text", "two", "", "one text"], *([f"client {i}"] for i in range(40))]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda some: client.embeddings.create(model="abc", input=some), texts))
    for some, one in zip(texts, found, strict=True):
        np.testing.assert_allclose([each.embedding for each in one.data], letters(32, some), atol=1e-6)
    assert {model.id for model in client.models.list()} == {"abc", MODEL, "32"}
    assert client.models.retrieve("abc").owned_by == "vjaccel"


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"model": "abc", "input": []}, 400, "not empty"),
        ({"model": "other", "input": "a"}, 404, "there is no model 'other' here"),
        ({"model": "abc", "input": ["a"] * 401}, 413, "401 texts in one request are more than 400"),
        ({"model": "abc", "input": "a" * 20001}, 413, "20000 bytes"),
        ({"model": "abc", "input": ["a", "FAIL"]}, 502, "input 1: "),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_requests_are_refused_as_by_one_process(served: Served, asked: object, status: int, said: str) -> None:
    code, text = served.post(json.dumps(asked).encode(), Authorization=f"Bearer {TOKEN}")
    assert (code, said in json.loads(text)["error"]["message"]) == (status, True), text


def test_a_token_is_asked_for_and_not_by_what_lies_beside(served: Served, client: Any) -> None:
    with pytest.raises(openai.AuthenticationError, match="token is missing or wrong"):
        client.with_options(api_key="wrong").embeddings.create(model="abc", input="a")
    assert served.get("/healthz") == (200, "ok")
    assert served.get("/readyz") == (200, "ok")
    assert served.get("/v1/chat")[0] == 404


def until_both_are_on_the_page(served: Served) -> tuple[str, list[str]]:
    """The page, which always has a replica at least, when it has the runs of both: they are looked at once a second."""
    until = time.monotonic() + PATIENCE
    while True:
        status, page = served.get("/metrics")
        assert status == 200
        assert "vjaccel_memory_bytes{replica=" in page
        lines = [line for line in page.splitlines() if line.startswith("vjaccel_runs_active{")]
        if len(lines) == 2:
            return page, lines
        assert time.monotonic() < until, page
        time.sleep(0.2)


def test_a_page_of_metrics_has_all_replicas(served: Served) -> None:
    page, lines = until_both_are_on_the_page(served)
    assert all(f'model="{MODEL}",replica="' in line for line in lines)
    assert page.count("# TYPE vjaccel_runs_active gauge") == 1


def test_there_is_a_page_while_what_has_the_pages_is_begun_again(served: Served) -> None:
    (killed,) = processes(served, "ray::Pages")
    killed.kill()
    until_both_are_on_the_page(served)
    assert processes(served, "ray::Pages") != {killed}


def test_too_many_texts_are_answered_with_429_and_a_client_comes_again(client: Any) -> None:
    texts = [f"SLOW {i}" for i in range(300)]
    with ThreadPoolExecutor(8) as pool:
        many = [pool.submit(client.embeddings.with_raw_response.create, model="abc", input=texts) for _ in range(8)]
        errors = [one.exception(PATIENCE) for one in many]
    refused = [error for error in errors if error is not None]
    assert refused
    assert all(isinstance(error, openai.RateLimitError) for error in refused)
    assert all(int(error.response.headers["retry-after"]) >= 1 for error in refused)  # type: ignore[attr-defined]  # they are
    with ThreadPoolExecutor(8) as pool:
        patient = client.with_options(max_retries=30)
        found = list(pool.map(lambda _: patient.embeddings.create(model="abc", input=texts), range(8)))
    assert [len(one.data) for one in found] == [300] * 8


def test_a_replica_that_is_killed_is_replaced_and_no_request_is_lost(served: Served, client: Any) -> None:
    before, over = until_replicas(served, 2), Event()

    def ask(number: int) -> int:
        done = 0
        while not over.is_set():
            texts = [f"SLOW {number} {done} {i}" for i in range(20)]
            found = client.embeddings.create(model="abc", input=texts)
            np.testing.assert_allclose([each.embedding for each in found.data], letters(32, texts), atol=1e-6)
            done += 1
        return done

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask, number) for number in range(6)]
        try:
            time.sleep(0.5)
            (killed := min(before, key=lambda process: process.pid)).kill()
            until = time.monotonic() + PATIENCE
            while killed in (now := replicas(served)) or len(now) < 2:
                assert time.monotonic() < until
                time.sleep(0.1)
        finally:
            over.set()
        assert all(one.result(PATIENCE) for one in asking)
    assert len(until_replicas(served, 2) - before) == 1


def test_a_text_that_kills_its_process_is_refused_with_503_and_the_service_lives(served: Served, client: Any) -> None:
    code, text = served.post(json.dumps({"model": "abc", "input": "KILL"}).encode(), Authorization=f"Bearer {TOKEN}")
    assert (code, json.loads(text)["error"]["code"]) == (503, "lost")
    # Whoever comes before there is a replica again waits.
    assert len(client.embeddings.create(model="abc", input=["next"]).data) == 1


def test_stopped_it_answers_what_it_has_been_asked_and_nothing_new(
    served: Served, client: Any, log: Path, free: Path
) -> None:
    until_replicas(served, 2)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.embeddings.create, model="abc", input=["HELD", "one", "two"])
        try:
            while "HELD" not in log.read_text():
                assert not asked.done()
                time.sleep(0.01)
            served.process.send_signal(signal.SIGTERM)
            turned_away = None
            while turned_away is None:
                assert not asked.done()
                try:
                    # One that comes before the stop may be put behind what is held.
                    client.with_options(timeout=2).embeddings.create(model="abc", input="new")
                except openai.APITimeoutError:
                    continue
                except openai.InternalServerError as exc:
                    turned_away = exc
        finally:
            free.touch()
        assert len(asked.result(PATIENCE).data) == 3
    assert (turned_away.status_code, turned_away.code) == (503, "stopping")
    assert turned_away.response.headers["retry-after"] == "5"
    assert served.process.wait(PATIENCE) == 0
    assert served.process.stderr is not None
    assert served.process.stderr.read() == ""
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{served.url}/readyz", timeout=5)


def refused(folder: Path, *options: str, code: int = 1) -> str:
    """What is said where it does not begin."""
    if not (folder / "plugins").exists():
        install(folder / "plugins")
    done = subprocess.run(
        [sys.executable, "-m", "vjaccel", "serve", "--port", "0", "--engine", "ray", *options], cwd=folder, text=True,
        capture_output=True, check=False, timeout=PATIENCE,
        env=os.environ | {"PYTHONPATH": f"{folder / 'plugins'}:{ROOT}"},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


@pytest.mark.soak
def test_a_cluster_without_room_is_said_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, "--model", MODEL, "--replicas", "2", "--resources", f"cpu={os.cpu_count()}")
    assert said == (f"vjaccel: the cluster has room for 1 times cpu={os.cpu_count()}, and 2 are to be there at least\n")


@pytest.mark.soak
@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_while_the_model_is_loaded_it_ends(tmp_path: Path, number: signal.Signals, code: int) -> None:
    install(tmp_path / "plugins")
    loading = tmp_path / "loading"
    process = subprocess.Popen(
        [sys.executable, "-m", "vjaccel", "serve", "--port", "0", "--engine", "ray", "--model", MODEL], cwd=tmp_path,
        text=True, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{tmp_path / 'plugins'}:{ROOT}", "LETTERS_LOADING": str(loading)},
    )  # fmt: skip
    try:
        until = time.monotonic() + PATIENCE
        while not loading.exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)  # half of what loading takes
        assert (process.returncode, said) == (code, "vjaccel: stopped; nothing was served yet\n")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.soak
def test_a_model_that_cannot_be_loaded_is_said_once(tmp_path: Path) -> None:
    assert refused(tmp_path, "--model", "local:/nowhere") == "vjaccel: there is no folder '/nowhere'\n"


@pytest.mark.soak
def test_on_a_cluster_of_two_nodes_there_is_one_service_whose_end_leaves_the_cluster(tmp_path: Path) -> None:
    install(tmp_path / "plugins")
    options = ("--model", MODEL, "--engine", "ray", "--replicas", "2")
    with Nodes(2, {"PYTHONPATH": f"{tmp_path / 'plugins'}:{ROOT}"}) as nodes:
        address = ("--address", nodes.address)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = refused(tmp_path, *options, *address, "--port", str(port))
        assert said == (
            f"vjaccel: the head of the cluster cannot do it: cannot listen at 127.0.0.1:{port}: Address already in use\n"
        )
        for _ in range(2):
            with serving(tmp_path, *options, *address) as served:
                with served.client() as client:
                    assert len(client.embeddings.create(model=MODEL, input=["a", "b"]).data) == 2
                assert "the cluster serves something already" in refused(tmp_path, *options[:4], *address)
                served.process.send_signal(signal.SIGINT)
                assert served.process.wait(PATIENCE) == 0


@pytest.mark.soak
def test_replicas_become_more_while_many_ask_and_fewer_after(tmp_path: Path) -> None:
    with serving(tmp_path, "--model", MODEL, "--engine", "ray", "--replicas", "1:2") as served:
        assert len(until_replicas(served, 1)) == 1
        over = Event()

        def ask(number: int) -> None:
            while not over.is_set():
                client.embeddings.create(model=MODEL, input=[f"SLOW {number} {i}" for i in range(50)])

        with served.client() as client, ThreadPoolExecutor(24) as pool:
            asking = [pool.submit(ask, number) for number in range(24)]
            try:
                until_replicas(served, 2)
            finally:
                over.set()
            for one in asking:
                one.result(PATIENCE)
        until_replicas(served, 1)


@pytest.mark.soak
def test_replicas_share_a_limit_through_redis(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    with redis_server(tmp_path) as redis, FaultServer() as provider:
        options = ("--model", "openai:m", "--base-url", provider.url, "--engine", "ray", "--replicas", "2")
        limits = ("--requests-per-minute", "5", "--shared-limits", redis.url)
        with (
            serving(tmp_path, *options, *limits, OPENAI_API_KEY="") as served,
            served.client() as client,
            ThreadPoolExecutor(12) as pool,
        ):
            asked = [pool.submit(client.embeddings.create, model="m", input=[f"text {i}"]) for i in range(12)]
            until = time.monotonic() + PATIENCE
            while sum(one.done() for one in asked) < 1 or provider.counts.requests < 5:
                assert time.monotonic() < until
                time.sleep(0.1)
            time.sleep(3)  # in which the others would send on
            assert provider.counts.requests <= 5
            served.process.kill()
