"""Single flight: two runs of one process that want the same text embed it once, and neither waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from vjaccel.embedding.cache import Cache, Flights, flights_of, open_cache, rows_of
from vjaccel.embedding.cache.flights import Flyer

PATIENCE = 30.0


def keys(count: int) -> list[bytes]:
    return [blake2b(b"%d" % i, digest_size=16).digest() for i in range(count)]


def vectors_for(some: list[bytes]) -> np.ndarray:
    return np.array([np.frombuffer(key, np.uint8) for key in some], np.float32).reshape(len(some), 16)


class Model:
    """Counts what it embeds, and may fail."""

    def __init__(self, fails: int = 0) -> None:
        self.embedded: list[bytes] = []
        self.fails = fails
        self.begun = threading.Event()
        self.go = threading.Event()
        self._lock = threading.Lock()

    def embed(self, some: list[bytes]) -> np.ndarray:
        with self._lock:
            if self.fails:
                self.fails -= 1
                raise RuntimeError("the model has failed")
            self.embedded += some
        self.begun.set()
        assert self.go.wait(PATIENCE)
        return vectors_for(some)


def run(cache: Cache, flights: Flights, wanted: list[bytes], model: Model) -> np.ndarray:
    """What a run does for a chunk."""
    with flights.run() as flyer:
        missing = [key for key, found in zip(wanted, cache.get(wanted), strict=True) if found is None]
        while missing:
            claimed = flyer.claim(missing)
            own = [missing[i] for i in claimed.mine]
            if own:
                cache.put(own, model.embed(own))
                flyer.release(own)
            circle = not flyer.wait(claimed.others)
            missing = [key for key, found in zip(missing, cache.get(missing), strict=True) if found is None]
            if circle and missing:
                cache.put(missing, model.embed(missing))
                missing = []
    return rows_of(cache.get(wanted), 16)[1]


def together(*calls: Callable[[], object]) -> list[object]:
    """What several calls give, or raise, each in a thread of its own."""
    given: list[object] = [None] * len(calls)

    def work(i: int) -> None:
        try:
            given[i] = calls[i]()
        except BaseException as exc:
            given[i] = exc

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it waits for ever"
    return given


@pytest.fixture
def memory() -> Cache:
    cache = open_cache("memory")
    assert cache is not None
    return cache


@pytest.mark.parametrize("runs", [2, 5])
def test_runs_that_want_the_same_texts_embed_each_once(memory: Cache, runs: int) -> None:
    flights, model = flights_of(memory), Model()
    model.go.set()
    names = keys(400)
    # Each wants a part, and each part overlaps the others'.
    wanted = [names[i * 50 : i * 50 + 200] for i in range(runs)]
    given = together(*(lambda mine=mine: run(memory, flights, mine, model) for mine in wanted))
    for mine, got in zip(wanted, given, strict=True):
        np.testing.assert_array_equal(got, vectors_for(mine))
    assert sorted(model.embedded) == sorted(set().union(*wanted))
    assert len(flights) == 0


def test_one_waits_for_the_other(memory: Cache) -> None:
    flights, slow, other = flights_of(memory), Model(), Model()
    other.go.set()

    def second() -> np.ndarray:
        assert slow.begun.wait(PATIENCE)
        with flights.run() as flyer:
            claimed = flyer.claim(keys(3))
            assert claimed.mine == []
            slow.go.set()
            assert flyer.wait(claimed.others)
        return run(memory, flights, keys(4), other)

    together(lambda: run(memory, flights, keys(3), slow), second)
    assert other.embedded == keys(4)[3:]


def test_what_one_run_fails_at_the_other_embeds(memory: Cache) -> None:
    flights, failing, other = flights_of(memory), Model(fails=1), Model()
    other.go.set()
    given = together(lambda: run(memory, flights, keys(5), failing), lambda: run(memory, flights, keys(5), other))
    assert isinstance(given[0], RuntimeError)
    np.testing.assert_array_equal(given[1], vectors_for(keys(5)))
    assert len(flights) == 0


def test_a_run_that_dies_lets_go_of_what_it_claimed(memory: Cache) -> None:
    flights = flights_of(memory)

    def dies() -> None:
        with flights.run() as flyer:
            flyer.claim(keys(10))
            assert len(flights) == 10
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dies()
    assert len(flights) == 0


def test_releasing_what_is_another_runs_does_nothing() -> None:
    flights = Flights()
    with flights.run() as first, flights.run() as second:
        first.claim(keys(2))
        second.release(keys(2))
        assert second.claim(keys(2)).mine == []
        first.release(keys(1))
        assert second.claim(keys(2)).mine == [0]


def test_what_a_run_has_claimed_before_is_still_its_own() -> None:
    with Flights().run() as flyer:
        assert flyer.claim(keys(3)).mine == [0, 1, 2]
        claimed = flyer.claim(keys(5))
        assert (claimed.mine, claimed.others) == ([0, 1, 2, 3, 4], [])


@pytest.mark.parametrize("runs", [2, 3])
def test_runs_that_would_wait_for_each_other_in_a_circle_do_not(runs: int) -> None:
    """As a run does that has another chunk under way: it cannot release that before it waits."""
    flights, names, ready = Flights(), keys(runs), threading.Barrier(runs)

    def one(i: int) -> bool:
        with flights.run() as flyer:
            flyer.claim([names[i]])
            ready.wait(PATIENCE)
            claimed = flyer.claim([names[(i + 1) % runs]])
            assert claimed.mine == []
            return flyer.wait(claimed.others)

    assert sorted(together(*(lambda i=i: one(i) for i in range(runs)))) == [False] + [True] * (runs - 1)


def test_waiting_ends_when_the_run_is_stopped() -> None:
    flights, stop = Flights(), threading.Event()

    def waits(flyer: Flyer) -> bool:
        return flyer.wait(flyer.claim(keys(1)).others, stop)

    with flights.run() as first, flights.run() as second:
        first.claim(keys(1))
        assert together(lambda: waits(second), stop.set)[0] is False


def test_waiting_for_nothing_is_done_at_once() -> None:
    with Flights().run() as flyer:
        assert flyer.wait([])


def test_all_who_open_one_folder_have_the_same_flights(tmp_path: Path) -> None:
    first, second, other = (open_cache(tmp_path / name) for name in ("one", "one", "other"))
    assert first is not None
    assert second is not None
    assert other is not None
    assert flights_of(first) is flights_of(second)
    assert flights_of(first) is not flights_of(other)
    for cache in (first, second, other):
        cache.close()
