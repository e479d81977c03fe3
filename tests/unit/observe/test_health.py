"""`/healthz` and `/readyz`: whether runs go on, and have begun."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

import vjaccel as vj
from tests.unit.observe.scraping import answered, page, until
from vjaccel.observe import Monitor


def test_it_is_ready_once_a_run_has_begun_and_stays_so() -> None:
    with Monitor() as monitor:
        status, said = answered(monitor.url, "/readyz")
        assert (status, said["status"]) == (503, "not ready")
        assert "the model is being loaded" in said["why"]
        with vj.Embedder(lambda texts: [[1.0]] * len(texts)) as embedder:
            embedder.embed(["a"])
        assert answered(monitor.url, "/readyz") == (200, {"status": "ready", "why": "a run has begun"})


def test_it_is_healthy_until_a_run_stands_still_and_then_says_why() -> None:
    go = threading.Event()

    def embed(texts: list[str]) -> list[list[float]]:
        go.wait(30)
        return [[1.0]] * len(texts)

    with Monitor(stalled_after=0.2) as monitor, vj.Embedder(embed, name="hangs") as embedder:
        assert answered(monitor.url, "/healthz") == (200, {"status": "ok", "problems": [], "runs": []})
        running = threading.Thread(target=embedder.embed, args=(["a text of somebody's", "b"],))
        running.start()
        until(lambda: answered(monitor.url, "/healthz")[0] == 503)
        status, said = answered(monitor.url, "/healthz")
        assert (status, said["status"]) == (503, "failing")
        assert said["problems"][0].startswith("nothing has come of function:hangs for ")
        assert said["problems"][0].endswith(": 1 batches are at work, and 2 texts wait")
        assert {key: said["runs"][0][key] for key in ("model", "read", "settled", "at_work", "workers")} == {
            "model": "function:hangs", "read": 2, "settled": 0, "at_work": 1, "workers": 1,
        }  # fmt: skip
        assert "somebody" not in str(said)
        go.set()
        running.join()
        assert answered(monitor.url, "/healthz")[0] == 200


def test_a_run_that_waits_for_its_source_is_not_stalled() -> None:
    more, done = threading.Event(), threading.Event()

    def source() -> Iterator[str]:
        yield "a"
        more.wait(30)

    def read(embedder: vj.Embedder) -> None:
        list(embedder.stream(source(), max_latency=0.01, chunk_size=1))
        done.set()

    with Monitor(stalled_after=0.05) as monitor, vj.Embedder(lambda texts: [[1.0]] * len(texts)) as embedder:
        running = threading.Thread(target=read, args=(embedder,))
        running.start()
        until(lambda: bool(runs := answered(monitor.url, "/healthz")[1]["runs"]) and runs[0]["settled"] == 1)
        threading.Event().wait(0.2)
        assert answered(monitor.url, "/healthz")[0] == 200
        more.set()
        running.join()


def test_another_place_is_a_404_that_says_what_there_is() -> None:
    with Monitor() as monitor:
        status, said = answered(monitor.url, "/secrets")
        assert status == 404
        assert said["there are"] == ["/metrics", "/healthz", "/readyz"]
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"{monitor.url}/healthz", data=b"x", method="POST"), timeout=30)
        with refused.value:
            assert refused.value.code == 404


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            vj.errors.OutputError, match=rf"at 127\.0\.0\.1, port {port}: address already in use; name another"
        ):
            Monitor(port)


@pytest.mark.parametrize(
    "host",
    ["no.such.host.invalid", "192.0.2.1"],
)
def test_an_address_that_is_not_here_is_said(host: str) -> None:
    with pytest.raises(vj.errors.OutputError, match=f"metrics cannot be served at {host}"):
        Monitor(0, host)


@pytest.mark.parametrize("port", [65536, -1])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(vj.InvalidInput, match=f"metrics cannot be served at port {port}: ports are 0 to 65535"):
        Monitor(port)


def test_it_is_served_on_ipv6_too() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Monitor(host="::1") as monitor:
        assert str(monitor.url).startswith("http://[::1]:")
        assert "vjaccel_memory_bytes" in page(monitor.url)


def test_a_port_that_is_none_serves_nothing() -> None:
    with Monitor(None) as monitor:
        assert monitor.url is None
