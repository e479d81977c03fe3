"""The NumPy backend's threads, and the BLAS beside them."""

from __future__ import annotations

import os
import threading
from multiprocessing import get_context

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import vjaccel as vj
from vjaccel_numpy import threads


def _blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_the_blas_is_held_to_one_thread_inside_and_found_as_it_was_afterwards() -> None:
    before = _blas_threads()
    with threads.one_blas_thread():
        assert set(_blas_threads()) == {1}
        with threads.one_blas_thread():
            pass
        assert set(_blas_threads()) == {1}
    assert _blas_threads() == before


def test_calls_from_many_threads_leave_the_blas_as_they_found_it() -> None:
    before = _blas_threads()
    inside, leave = threading.Event(), threading.Event()

    def overlapping() -> None:
        with threads.one_blas_thread():
            inside.set()
            leave.wait(10)

    worker = threading.Thread(target=overlapping)
    with threads.one_blas_thread():
        worker.start()
        inside.wait(10)
    # This thread was first in, the other will be the last out.
    assert set(_blas_threads()) == {1}
    leave.set()
    worker.join()
    assert _blas_threads() == before


def test_a_task_that_fails_is_raised_after_all_have_ended() -> None:
    ended = []

    def fails() -> None:
        raise ValueError("the first task")

    with pytest.raises(ValueError, match="the first task"):
        threads.run([fails, lambda: ended.append(1)])
    assert ended == [1]


def test_searches_from_many_threads_at_once_answer_as_one_does() -> None:
    rng = np.random.default_rng(0)
    rows, queries = rng.standard_normal((20_000, 96), dtype=np.float32), rng.standard_normal((40, 96), dtype=np.float32)
    corpus = vj.Corpus(rows)
    alone = corpus.topk(queries).indices
    answers: list[np.ndarray] = []
    workers = [threading.Thread(target=lambda: answers.append(corpus.topk(queries).indices)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(answers) == 6
    assert all(np.array_equal(answer, alone) for answer in answers)


def _search_in_child(rows: np.ndarray, answers: object) -> None:
    answers.put(vj.topk(rows[:20], rows, 3).indices.tolist())  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
def test_a_forked_child_searches_with_threads_of_its_own() -> None:
    rows = np.random.default_rng(0).standard_normal((20_000, 96), dtype=np.float32)
    expected = vj.topk(rows[:20], rows, 3).indices.tolist()
    context = get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_search_in_child, args=(rows, answers))
    child.start()
    try:
        assert answers.get(timeout=60) == expected
    finally:
        child.kill()
        child.join()
