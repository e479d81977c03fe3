"""The NumPy backend's threads, and the BLAS beside them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import vjaccel as vj
from vjaccel_numpy import threads

ROWS = np.random.default_rng(0).standard_normal((20_000, 96), dtype=np.float32)

CALLS: dict[str, Callable[[], object]] = {
    "topk of few": lambda: vj.topk(ROWS[:2], ROWS, 3).indices,
    "topk of many": lambda: vj.topk(ROWS[:100], ROWS, 3).indices,
    "cosine": lambda: vj.similarity(ROWS[:300], ROWS),
    "dot": lambda: vj.similarity(ROWS, ROWS[:300], metric="dot"),
    "euclidean": lambda: vj.distance(ROWS[:1500], ROWS[:3000]),
    "a small euclidean": lambda: vj.distance(ROWS[:100], ROWS[:100]),
    "manhattan": lambda: vj.distance(ROWS[:30], ROWS, metric="manhattan"),
    "normalize": lambda: vj.normalize(ROWS),
}


def _ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("vjaccel")]


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    vj.set_threads(None)


def _blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def _held_threads() -> set[int]:
    """Of the BLAS that NumPy calls, and others whose number is the process': an OpenMP one's is each thread's own."""
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {library["num_threads"] for library in libraries if library.get("threading_layer") != "openmp"}


def test_the_blas_is_held_to_one_thread_inside_and_found_as_it_was_afterwards() -> None:
    before = _blas_threads()
    with threads.one_blas_thread():
        assert _held_threads() == {1}
        with threads.one_blas_thread():
            pass
        assert _held_threads() == {1}
    assert _blas_threads() == before


@pytest.mark.parametrize("beside", ["numpy", "faiss"])
def test_calls_from_many_threads_leave_the_blas_as_they_found_it(beside: str) -> None:
    pytest.importorskip(beside)  # faiss brings a BLAS of another kind
    threads._controller.cache_clear()  # so that it is among those found
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
    assert _held_threads() == {1}
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


@pytest.mark.parametrize("call", CALLS)
def test_with_one_thread_a_call_has_no_other_and_the_same_answer(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = CALLS[call]()
    seen: list[tuple[threading.Thread, int]] = []
    multiply, quietly = np.matmul, threads._quietly

    def product(*args: np.ndarray, **kwargs: np.ndarray) -> np.ndarray:
        # What was there at the first call: numba loads SciPy's BLAS too, which nothing here calls.
        known = [library for library in threads._controller().info() if library["user_api"] == "blas"]
        seen.append((threading.current_thread(), max(library["num_threads"] for library in known)))
        return multiply(*args, **kwargs)

    def task(work: Callable[[], None]) -> None:
        seen.append((threading.current_thread(), 1))
        quietly(work)

    monkeypatch.setattr(np, "matmul", product)
    monkeypatch.setattr(threads, "_quietly", task)
    vj.set_threads(1)
    before = threading.active_count()
    np.testing.assert_allclose(CALLS[call](), usual, rtol=2e-4, atol=2e-5)
    assert set(seen) <= {(threading.current_thread(), 1)}
    assert threading.active_count() <= before


@pytest.mark.parametrize("call", CALLS)
def test_with_three_threads_the_pool_has_two_and_the_blas_is_as_it_was(call: str) -> None:
    vj.set_threads(2)
    threads.run([lambda: None] * 9)
    usual, before, former = CALLS[call](), _blas_threads(), _ours()
    vj.set_threads(3)
    np.testing.assert_allclose(CALLS[call](), usual, rtol=2e-4, atol=2e-5)
    assert _blas_threads() == before
    threads.run([lambda: None] * 9)
    for thread in former:
        thread.join(10)  # those of the pool before this one end when they see that it is over
    assert len(_ours()) == 2


def test_the_number_may_change_while_other_threads_search() -> None:
    corpus, before = vj.Corpus(ROWS), _blas_threads()
    alone = corpus.topk(ROWS[:20]).indices
    answers: list[np.ndarray] = []
    workers = [
        threading.Thread(target=lambda: answers.extend(corpus.topk(ROWS[:20]).indices for _ in range(5)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    numbers = 0
    while any(worker.is_alive() for worker in workers):
        numbers += 1
        vj.set_threads(1 + numbers % 3)
    assert len(answers) == 20
    assert all(np.array_equal(answer, alone) for answer in answers)
    assert _blas_threads() == before


def _search_in_child(rows: np.ndarray, answers: object) -> None:
    answers.put(vj.topk(rows[:20], rows, 3).indices.tolist())  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
@pytest.mark.parametrize("n", [None, 1, 3])
def test_a_forked_child_searches_with_threads_of_its_own(n: int | None) -> None:
    vj.set_threads(n)
    expected = vj.topk(ROWS[:20], ROWS, 3).indices.tolist()
    context = get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_search_in_child, args=(ROWS, answers))
    child.start()
    try:
        assert answers.get(timeout=60) == expected
    finally:
        child.kill()
        child.join()
