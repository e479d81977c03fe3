"""Changing a corpus: what is refused, what is uploaded, and who waits for whom."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays.turns import Turns

GOOD = np.eye(3)


@pytest.fixture
def corpus() -> vj.Corpus:
    return vj.Corpus(GOOD)


@pytest.mark.parametrize(
    "change", [lambda c, p: c.update(p, GOOD[:1]), lambda c, p: c.remove(p)], ids=["update", "remove"]
)
class TestPositions:
    @pytest.mark.parametrize("positions", [[3], [-1], 7, np.uint64(2**63)])
    def test_a_row_that_is_not_there_is_said(self, corpus: Any, change: Any, positions: Any) -> None:
        with pytest.raises(vj.InvalidInput, match=r"positions has .*; the corpus has 3 rows, from 0 on"):
            change(corpus, positions)

    @pytest.mark.parametrize("positions", [[1.0], [True, False, True], ["a"]])
    def test_what_is_no_whole_number_is_a_type_error(self, corpus: Any, change: Any, positions: Any) -> None:
        with pytest.raises(vj.InvalidType, match="positions must be whole numbers"):
            change(corpus, positions)

    def test_a_row_named_twice_is_said(self, corpus: Any, change: Any) -> None:
        with pytest.raises(vj.InvalidInput, match="positions names a row twice"):
            change(corpus, [1, 1])

    def test_more_dimensions_than_one_are_said(self, corpus: Any, change: Any) -> None:
        with pytest.raises(vj.InvalidInput, match=r"positions has shape \(1, 2\); it needs \(n,\)"):
            change(corpus, [[0, 1]])


def test_as_many_rows_as_positions_are_needed(corpus: vj.Corpus) -> None:
    with pytest.raises(vj.InvalidInput, match="positions names 2 rows and rows has 1; they must be as many"):
        corpus.update([0, 1], GOOD[:1])


@pytest.mark.parametrize("change", [lambda c, x: c.add(x), lambda c, x: c.update([0], x)], ids=["add", "update"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((1, 2)), "rows has vectors of width 2 and the corpus of width 3"),
        (np.ones((1, 1, 3)), "rows has shape"),
    ],
)
def test_rows_of_another_shape_are_said(corpus: vj.Corpus, change: Any, rows: Any, message: str) -> None:
    with pytest.raises(vj.InvalidInput, match=message):
        change(corpus, rows)


def test_rows_of_another_device_are_not_pulled_to_a_corpus_on_the_host_unasked(corpus: vj.Corpus, on: Any) -> None:
    with pytest.raises(TypeError, match="rows are on loopback:gpu:0 and the corpus on numpy:cpu"):
        corpus.add(on("loopback", GOOD))


def test_what_was_refused_changed_nothing(corpus: vj.Corpus) -> None:
    with pytest.raises(vj.InvalidInput):
        corpus.update([0, 9], np.ones((2, 3)))
    assert corpus.vectors is GOOD


def test_no_change_is_no_change(corpus: vj.Corpus) -> None:
    corpus.add(GOOD[:0])
    corpus.update([], GOOD[:0])
    corpus.remove([])
    assert corpus.vectors is GOOD


def test_one_position_and_one_row_need_no_list(corpus: vj.Corpus) -> None:
    corpus.update(1, [0.0, 0.0, 5.0])
    corpus.add([9.0, 0.0, 0.0])
    corpus.remove(0)
    assert corpus.vectors.tolist() == [[0, 0, 5], [0, 0, 1], [9, 0, 0]]


def test_rows_are_kept_in_the_corpus_own_dtype() -> None:
    corpus = vj.Corpus(GOOD.astype(np.float32))
    corpus.add([[0.1, 0.2, 0.3]])
    assert corpus.vectors.dtype == np.float32


def test_added_rows_are_copied(corpus: vj.Corpus) -> None:
    rows = np.ones((2, 3))
    corpus.add(rows)
    corpus.update([0, 1], rows)
    rows[:] = 7
    assert 7 not in corpus.vectors


@pytest.mark.parametrize("change", ["add", "update", "remove"])
def test_what_is_on_the_device_is_not_uploaded_again(on: Any, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    corpus = vj.Corpus(on("loopback", np.random.default_rng(0).standard_normal((5000, 16))), metric="euclidean")
    uploaded: list[int] = []
    real = corpus.backend.asarray
    monkeypatch.setattr(corpus.backend, "asarray", lambda x: (uploaded.append(x.size), real(x))[1])
    calls = {"add": lambda: corpus.add(np.ones((2, 16))), "update": lambda: corpus.update([1, 2], np.ones((2, 16))),
             "remove": lambda: corpus.remove([1, 2])}  # fmt: skip
    calls[change]()
    calls[change]()
    assert 0 < sum(uploaded) < 200


def test_rows_added_one_by_one_are_copied_a_few_times_each(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = vj.Corpus(np.ones((1, 4)), metric="euclidean")
    prepared: list[int] = []
    real = corpus.backend.prepare
    monkeypatch.setattr(corpus.backend, "prepare", lambda x, metric: (prepared.append(len(x)), real(x, metric))[1])
    for _ in range(1000):
        corpus.add(np.ones(4))
    assert len(corpus) == 1001
    assert sum(prepared) < 3000


def test_removed_rows_are_copied_away_when_they_are_many(corpus: vj.Corpus) -> None:
    corpus = vj.Corpus(np.ones((100, 4)))
    corpus.remove(range(20))
    assert corpus._held is not None
    assert corpus._held.rows == 100
    corpus.remove(range(5))
    assert (corpus._held.rows, len(corpus)) == (75, 75)


# Turns


def test_a_change_waits_for_the_searches_and_the_next_searches_for_it() -> None:
    turns, order = Turns(), []
    inside, leave = threading.Event(), threading.Event()

    def search(name: str) -> None:
        with turns.search():
            order.append(name)
            inside.set()
            leave.wait()

    def change() -> None:
        with turns.change():
            order.append("change")

    first = threading.Thread(target=search, args=("first",))
    first.start()
    inside.wait()
    changing = threading.Thread(target=change)
    changing.start()
    while not turns._waiting:
        pass
    second = threading.Thread(target=search, args=("second",))
    second.start()
    leave.set()
    for thread in (first, changing, second):
        thread.join()
    assert order == ["first", "change", "second"]


def test_searches_go_on_together() -> None:
    turns = Turns()
    with turns.search(), turns.search():
        pass


def test_a_search_or_change_that_fails_lets_the_next_in() -> None:
    turns = Turns()
    for turn in (turns.change, turns.search, turns.change):
        with pytest.raises(KeyError), turn():
            raise KeyError
    with turns.change():
        pass
