"""How many batches at once pay, from what the machine is doing."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.batch.load import Load, Reading, allowed, processors
from vjaccel.batch.waiting import next_of, rank
from vjaccel.batch.watch import judged

FREE = 0.5


@pytest.mark.parametrize(
    ("before", "most", "reading", "waiting", "wanted"),
    [
        # Others came to a machine that is used up: one fewer at a time, to what they leave.
        (8, 8, Reading(8, 1.0, 4.0, FREE), 9, 7),
        (5, 8, Reading(8, 1.0, 4.0, FREE), 9, 4),
        (4, 8, Reading(8, 1.0, 4.0, FREE), 9, 4),
        (2, 8, Reading(8, 1.0, 8.0, FREE), 9, 1),
        (1, 8, Reading(8, 1.0, 8.0, FREE), 9, 1),
        # We use it up alone: as many as there are processors.
        (16, 16, Reading(4, 1.0, 0.0, FREE), 9, 15),
        (4, 16, Reading(4, 1.0, 0.0, FREE), 9, 4),
        # Some of it is idle: one more, if anything waits for it, to what was asked for.
        (4, 8, Reading(8, 0.5, 0.0, FREE), 1, 5),
        (4, 8, Reading(8, 0.5, 0.0, FREE), 0, 4),
        (8, 8, Reading(8, 0.5, 0.0, FREE), 9, 8),
        (20, 40, Reading(2, 0.1, 0.0, FREE), 9, 21),
        # Neither used up nor idle.
        (4, 8, Reading(8, 0.9, 3.0, FREE), 9, 4),
        # Memory runs out, whatever else.
        (8, 8, Reading(8, 0.1, 0.0, 0.02), 9, 4),
        (1, 8, Reading(8, 1.0, 0.0, 0.02), 9, 1),
        # A pool that was made smaller.
        (8, 2, Reading(8, 0.9, 0.0, FREE), 0, 2),
    ],
)
def test_what_may_run_at_once_follows_the_load(
    before: int, most: int, reading: Reading, waiting: int, wanted: int
) -> None:
    assert allowed(before, most, reading, waiting) == wanted


def test_a_machine_that_is_freed_gets_all_back_step_by_step() -> None:
    now = 8
    seen = []
    for busy, others in [(1.0, 6.0)] * 8 + [(0.4, 0.0)] * 8:
        now = allowed(now, 8, Reading(8, busy, others, FREE), 9)
        seen.append(now)
    assert seen == [7, 6, 5, 4, 3, 2, 2, 2, 3, 4, 5, 6, 7, 8, 8, 8]


def test_what_is_read_is_of_this_machine() -> None:
    load = Load()
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        sum(range(1000))
    found = load.reading()
    assert found.processors == len(processors())
    assert 0.0 < found.busy <= 1.0
    assert 0.0 <= found.others <= found.processors
    assert 0.0 < found.memory_left < 1.0


@pytest.mark.soak
def test_a_core_that_is_taken_away_makes_it_shrink_and_given_back_grow() -> None:
    cores = len(processors())
    if cores < 2:
        pytest.skip("there is one processor, which cannot be taken away")
    data = bytes(1 << 22)
    stop = threading.Event()

    def hashing(texts: list[str]) -> np.ndarray:
        hashlib.sha256(data).digest()  # lets go of the interpreter, and uses a processor up
        return np.ones((len(texts), 2))

    config = vj.BatchConfig(embedding_config={"max_concurrent_batch": cores, "enable_cache": False})
    with vj.BatchProcessor(config, embedder=hashing) as processor:

        def work() -> None:
            while not stop.is_set():
                texts = [f"{i}" for i in range(100)]
                processor.process_batch_embeddings(
                    vj.BatchEmbeddingRequest(texts=texts, batch_size=1, max_concurrent=cores)
                )

        def waited(true: Callable[[int], bool]) -> bool:
            end = time.monotonic() + 60
            while not true(processor.get_statistics().concurrency["embeddings"]) and time.monotonic() < end:
                time.sleep(0.05)
            return true(processor.get_statistics().concurrency["embeddings"])

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert waited(lambda now: now == cores)
            taking = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
            try:
                assert waited(lambda now: now < cores)
            finally:
                for process in taking:
                    process.kill()
                    process.wait()
            assert waited(lambda now: now == cores)
        finally:
            stop.set()
            thread.join()


class Waiting:
    def __init__(self, name: str, priority: str, since: float, order: int) -> None:
        self.name, self.priority, self.since, self.order = name, priority, since, order


def test_the_highest_priority_is_next_and_of_equals_the_first() -> None:
    waiting = [
        Waiting("low", "low", 0.0, 0),
        Waiting("high again", "high", 0.0, 3),
        Waiting("high", "high", 0.0, 2),
        Waiting("normal", "normal", 0.0, 1),
    ]
    found = next_of(waiting, 1.0)
    assert found is not None
    assert found.name == "high"


def test_nothing_waits_for_ever_behind_what_is_more_urgent() -> None:
    low = Waiting("low", "low", 0.0, 0)
    urgent = [Waiting(f"critical {at}", "critical", float(at), at + 1) for at in range(100)]
    served = []
    for at in range(100):
        # One more critical batch each second, and one that is served.
        waiting = [one for one in [low, *urgent[: at + 1]] if one not in served]
        found = next_of(waiting, float(at))
        assert found is not None
        served.append(found)
        if found is low:
            break
    assert served[-1] is low
    assert len(served) == 16


def test_waiting_raises_a_priority_steadily() -> None:
    assert rank("low", 5.0) == rank("normal", 0.0) < rank("normal", 1.0) < rank("high", 0.0)


@pytest.mark.parametrize(
    ("found", "problems"),
    [
        ({"active": 0, "still": 900.0, "memory_left": 0.5, "dead": 0}, ()),
        ({"active": 1, "still": 5.0, "memory_left": 0.5, "dead": 0}, ()),
        (
            {"active": 2, "still": 90.0, "memory_left": 0.5, "dead": 0},
            ("no batch has ended for 90 s, and 2 requests are under way",),
        ),
        ({"active": 0, "still": 5.0, "memory_left": 0.012, "dead": 0}, ("1.2% of the memory is left",)),
        (
            {"active": 0, "still": 5.0, "memory_left": 0.5, "dead": 2},
            ("2 worker threads have died and were not replaced",),
        ),
    ],
)
def test_health_is_what_goes_on_and_what_is_left(found: dict[str, float], problems: tuple[str, ...]) -> None:
    assert judged(**found) == (not problems, problems)  # type: ignore[arg-type]  # as the cases are written
