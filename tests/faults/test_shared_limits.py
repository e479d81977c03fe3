"""One budget for several processes, counted in a real Redis; and what becomes of it when that goes away."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vjaccel as vj
from tests.faults.server import FaultServer
from tests.unit.embedding.cache.conftest import RedisServer, redis_server
from vjaccel.embedding.limits import RatesPerMinute, SharedRates

ROOT = Path(__file__).parents[2]
PATIENCE = 200.0

WORKER = """
import sys
import vjaccel as vj
number, url, redis, texts = sys.argv[1:]
with vj.Embedder("openai:m", base_url=url, requests_per_minute=20, workers=8, batch_tokens=20, shared_limits=redis) as embedder:
    assert embedder.embed([f"text {number} {i}" for i in range(int(texts))]).ok.all()
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    pytest.importorskip("redis")
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def workers(server: FaultServer, redis: RedisServer, count: int, texts: int) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen([sys.executable, "-c", WORKER, str(i), server.url, redis.url, str(texts)], cwd=ROOT)
        for i in range(count)
    ]


def test_four_processes_send_no_more_than_one_may(redis: RedisServer) -> None:
    with FaultServer(latency=0.05) as server:
        processes = workers(server, redis, 4, 40)
        try:
            until = time.monotonic() + PATIENCE
            while server.counts.requests < 20:
                assert time.monotonic() < until
                time.sleep(0.05)
            time.sleep(3)  # in which each of them would send on
            assert server.counts.requests == 20
            assert all(process.poll() is None for process in processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()


@pytest.mark.soak
def test_no_window_of_a_minute_has_more_than_the_limit_whoever_sends(redis: RedisServer) -> None:
    with FaultServer(latency=0.1) as server:
        for process in workers(server, redis, 4, 30):
            assert process.wait(PATIENCE) == 0
        times = sorted(server.counts.times)
    assert len(times) > 40
    for start in times:
        assert sum(start <= time < start + 60 for time in times) <= 20


def begun(rates: SharedRates, limits: RatesPerMinute, tokens: int = 1) -> object:
    """A use, or None where one would have to wait."""

    async def one() -> object:
        try:
            async with asyncio.timeout(0.3):
                return await rates.begun(tokens, limits, asyncio.sleep)
        except TimeoutError:
            return None

    return asyncio.run(one())


def test_tokens_are_counted_as_the_reply_says_and_by_all(redis: RedisServer) -> None:
    limits = RatesPerMinute(None, 100)
    first, second = SharedRates(redis.url, "a"), SharedRates(redis.url, "a")
    other = SharedRates(redis.url, "b")
    use = begun(first, limits, 80)
    assert use is not None
    assert begun(second, limits, 30) is None
    assert begun(other, limits, 30) is not None
    first.ended(use, 10)  # type: ignore[arg-type]  # it is one
    deadline = time.monotonic() + PATIENCE
    while begun(second, limits, 30) is None:
        assert time.monotonic() < deadline


def test_what_one_is_asked_to_wait_all_wait(redis: RedisServer) -> None:
    limits = RatesPerMinute(100, None)
    first, second = SharedRates(redis.url, "a"), SharedRates(redis.url, "a")
    first.pause(1.0)
    time.sleep(0.2)
    assert begun(second, limits) is None
    time.sleep(1.0)
    assert begun(second, limits) is not None


def test_requests_of_a_process_that_died_count_until_they_would_have_ended(redis: RedisServer) -> None:
    limits = RatesPerMinute(1, None)
    script = (
        "import asyncio, sys\n"
        "from vjaccel.embedding.limits import RatesPerMinute, SharedRates\n"
        "asyncio.run(SharedRates(sys.argv[1], 'a', longest=-59.0).begun(1, RatesPerMinute(1, None), asyncio.sleep))\n"
    )
    subprocess.run([sys.executable, "-c", script, redis.url], check=True, cwd=ROOT)
    rates = SharedRates(redis.url, "a")
    assert begun(rates, limits) is None  # it has one second left
    time.sleep(1.2)
    assert begun(rates, limits) is not None


def test_a_request_that_many_are_in_the_way_of_waits_for_the_last_of_those(redis: RedisServer) -> None:
    limits, slept = RatesPerMinute(None, 60), []
    soon, late = (SharedRates(redis.url, "a", longest=longest) for longest in (-59.2, -30.0))
    for rates, uses in ((soon, 40), (late, 20)):
        for _ in range(uses):
            assert begun(rates, limits) is not None

    async def stop(seconds: float) -> None:
        slept.append(seconds)
        raise InterruptedError

    for tokens in (40, 41):
        with pytest.raises(InterruptedError):
            asyncio.run(late.begun(tokens, limits, stop))
    # Who waits looks again after a second at the latest.
    assert slept[0] < slept[1] == 1.0


def test_while_redis_is_away_each_keeps_to_its_share_and_comes_back(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    limits, now = RatesPerMinute(10, None), [100.0]
    rates, other = (SharedRates(redis.url, "a", clock=lambda: now[0]) for _ in range(2))
    assert begun(other, limits) is not None
    assert begun(rates, limits) is not None
    with caplog.at_level(logging.WARNING, "vjaccel.embedding"):
        redis.stop()
        # One of its five it has had while Redis was there.
        assert [begun(rates, limits) is not None for _ in range(6)] == [True] * 4 + [False] * 2
        redis.start()
        now[0] += 6.0
        assert begun(rates, limits) is not None
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "is away (ConnectionError): this process keeps to its share of the limits, one of 2" in said[0]
    assert said[1].endswith("is back: the limits are shared again")


def test_a_run_goes_on_without_redis(redis: RedisServer) -> None:
    with FaultServer() as server:
        redis.stop()
        with vj.Embedder(
            "openai:m", base_url=server.url, requests_per_minute=1000, shared_limits=redis.url
        ) as embedder:
            assert embedder.embed([f"text {i}" for i in range(50)]).ok.all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shared_limits": "http://here", "requests_per_minute": 5}, "this is not"),
        ({"shared_limits": "redis://here"}, "give one of them"),
    ],
    ids=["address", "no limit"],
)
def test_limits_that_cannot_be_shared_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(vj.InvalidInput, match=said):
        vj.Embedder("openai:m", base_url="http://127.0.0.1:9/v1", **options)  # type: ignore[arg-type]  # what is wrong


def test_neither_the_password_nor_the_key_is_shown(redis: RedisServer) -> None:
    url = redis.url.replace("redis://", "redis://me:secret@")
    embedder = vj.Embedder("openai:m", base_url="http://127.0.0.1:9/v1", requests_per_minute=5, shared_limits=url)
    assert "secret" not in repr(embedder)


def test_a_local_model_has_no_limits_to_share() -> None:
    with pytest.raises(vj.InvalidInput, match="shared_limits"):
        vj.Embedder(lambda texts: [[1.0]] * len(texts), shared_limits="redis://here", requests_per_minute=5)
