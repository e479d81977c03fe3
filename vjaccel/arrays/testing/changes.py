"""Corpora that are changed: they answer as if they were made anew of their rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Corpus
from vjaccel.arrays.testing.oracle import METRICS, answers, awkward, between, reaching
from vjaccel.arrays.testing.subject import FLOATS, Subject

__all__ = ["ChangeConformance"]

ROWS, DIM, K = 300, 24, 12

every_metric = pytest.mark.parametrize("metric", METRICS)


def normal(rows: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim))


class ChangeConformance(Subject):
    """Corpus.add, Corpus.update and Corpus.remove."""

    def made(self, rows: Any, metric: str = "cosine", dtype: str = "float32") -> Corpus:
        return Corpus(self.given(rows, dtype), metric=metric, backend=self.backend)

    def assert_answers(self, corpus: Corpus, rows: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Fail where `corpus` is not one of `rows`."""
        queries = normal(5, seed=99).astype(np.float32)
        assert len(corpus) == len(rows)
        np.testing.assert_array_equal(self.held(corpus.vectors)[0], rows)
        allowed = None if mask is None else self.given(mask, "bool")
        found = corpus.topk(self.given(queries), K, mask=allowed)
        expected = answers(corpus.metric.value, queries, rows, K, mask)[1]
        np.testing.assert_array_equal(self.host(found.indices), expected)
        assert self.host(found.indices).dtype == self.backend.capabilities.index_dtype
        if len(rows):
            threshold = between(corpus.metric.value, 0.2, queries, rows)
            matches = corpus.within(self.given(queries), threshold, mask=allowed)
            wanted = np.concatenate(reaching(corpus.metric.value, queries, rows, threshold, mask))
            np.testing.assert_array_equal(self.host(matches.indices), wanted)

    @pytest.mark.parametrize("dtype", FLOATS)
    @every_metric
    def test_added_rows_are_found_as_if_they_had_been_there(self, metric: str, dtype: str) -> None:
        first, more, last = (self.given(normal(n, n), dtype) for n in (ROWS, 40, 500))
        corpus = Corpus(first, metric=metric, backend=self.backend)
        corpus.add(more)
        corpus.add(last)
        self.assert_answers(corpus, np.concatenate(self.held(first, more, last)))

    def test_rows_are_added_one_by_one(self) -> None:
        rows = normal(40).astype(np.float32)
        corpus = self.made(rows[:1], "euclidean")
        for row in rows[1:]:
            corpus.add(self.given(row))
        self.assert_answers(corpus, rows)

    @every_metric
    def test_rows_in_the_place_of_others_are_found_there(self, metric: str) -> None:
        rows = normal(ROWS).astype(np.float32)
        corpus = self.made(rows, metric)
        for seed in (1, 2):
            positions = np.random.default_rng(seed).permutation(ROWS)[:50]
            rows[positions] = normal(50, seed) * seed
            corpus.update(positions, self.given(rows[positions]))
        self.assert_answers(corpus, rows)

    @every_metric
    def test_removed_rows_are_not_found_and_those_behind_them_move_up(self, metric: str) -> None:
        rows = normal(ROWS).astype(np.float32)
        corpus = self.made(rows, metric)
        for count in (1, 20, 25, 200):  # some are marked, then the rest is copied together
            positions = np.random.default_rng(count).permutation(len(rows))[:count]
            corpus.remove(positions)
            rows = np.delete(rows, positions, axis=0)
            self.assert_answers(corpus, rows)

    @every_metric
    def test_changes_of_every_kind_among_awkward_rows_are_as_made_anew(self, metric: str) -> None:
        rows = awkward(rows=ROWS)[1]
        corpus = self.made(rows, metric)
        generator = np.random.default_rng(5)
        for step in range(6):
            gone = generator.permutation(len(rows))[:15]
            corpus.remove(gone)
            rows = np.delete(rows, gone, axis=0)
            other = awkward(rows=30, seed=step)[1]
            corpus.add(self.given(other[:20]))
            rows = np.concatenate([rows, other[:20]])
            places = generator.permutation(len(rows))[:10]
            corpus.update(places, self.given(other[20:]))
            rows[places] = other[20:]
        self.assert_answers(corpus, rows)
        self.assert_answers(corpus, rows, generator.random(len(rows)) < 0.5)
        self.assert_answers(corpus, rows, generator.random((5, len(rows))) < 0.5)

    def test_a_corpus_that_was_empty_or_is_emptied_is_filled(self) -> None:
        rows = normal(30).astype(np.float32)
        corpus = self.made(rows[:0], "euclidean")
        for _ in range(2):
            corpus.add(self.given(rows))
            self.assert_answers(corpus, rows)
            corpus.remove(range(30))
            self.assert_answers(corpus, rows[:0])

    @pytest.mark.parametrize("change", ["add", "update", "remove"])
    @pytest.mark.parametrize("rows", [ROWS, 256])
    def test_what_was_given_and_what_was_shown_do_not_change(self, change: str, rows: int) -> None:
        given = self.given(normal(rows))
        corpus = Corpus(given, backend=self.backend)
        before = self.held(given)[0].copy()
        for _ in range(2):
            shown = corpus.vectors
            held = self.held(shown)[0].copy()
            if change == "remove":
                corpus.remove([0, 5])
            else:
                corpus.add(self.given(normal(4))) if change == "add" else corpus.update([3], self.given(normal(1)))
            np.testing.assert_array_equal(self.held(shown)[0], held)
        np.testing.assert_array_equal(self.held(given)[0], before)

    def test_rows_far_from_the_first_are_found(self) -> None:
        near, far = (x.astype(np.float32) for x in (normal(50), 1000 + 1e-3 * normal(ROWS, seed=1)))
        corpus = self.made(near, "euclidean")
        corpus.add(self.given(far))
        queries = far[:5] + np.float32(1e-3)
        rows = np.concatenate([near, far])
        found = corpus.topk(self.given(queries), K)
        np.testing.assert_array_equal(self.host(found.indices), answers("euclidean", queries, rows, K)[1])

    def test_host_rows_and_positions_on_the_device_are_taken(self) -> None:
        rows = normal(50).astype(np.float32)
        corpus = self.made(rows)
        corpus.add(rows[:3].tolist())
        corpus.update(self.given([1, 2], "int64"), rows[5:7])
        corpus.remove(self.given([0], "int64"))
        rows = np.concatenate([rows, rows[:3]])
        rows[[1, 2]] = rows[5:7]
        self.assert_answers(corpus, rows[1:])

    def test_a_search_sees_a_corpus_before_a_change_or_after_it(self) -> None:
        # Every row is one of two, all at once: a search that saw both would find two values.
        ones, query = np.ones((400, DIM)), self.given(np.ones(DIM))
        corpus = self.made(ones, "dot")
        places = np.arange(400)

        def searched(_: int) -> int:
            return len(np.unique(self.host(corpus.topk(query, 400).values)))

        def changed(step: int) -> None:
            corpus.update(places, self.given(ones * (step % 2 + 1)))

        with ThreadPoolExecutor(3) as pool:
            changes = [pool.submit(changed, step) for step in range(12)]
            seen = list(pool.map(searched, range(24)))
            for done in changes:
                done.result()
        assert seen == [1] * 24
