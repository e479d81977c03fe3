"""Corpora that stay on the host: they answer as those on the device do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Corpus, pairs, streams, topk, within
from vjaccel.arrays.testing.oracle import answers, awkward, between, reaching
from vjaccel.arrays.testing.subject import Subject
from vjaccel.errors import NotSupported

__all__ = ["StreamConformance"]

ROWS, K = 700, 12

some_metrics = pytest.mark.parametrize("metric", ["dot", "euclidean"])


class StreamConformance(Subject):
    """Corpus(..., resident=False), and what does not fit."""

    @pytest.fixture(autouse=True)
    def _small_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "PART_BYTES", 24_000)  # 250 rows of `awkward` in float32
        monkeypatch.setattr(streams, "FLOOR_BYTES", 5_000)

    def assert_streamed(
        self, corpus: Corpus, queries: np.ndarray, rows: np.ndarray, mask: np.ndarray | None = None
    ) -> None:
        expected = answers(corpus.metric.value, queries, rows, K, mask)[1]
        np.testing.assert_array_equal(corpus.topk(queries, K, mask=mask).indices, expected)
        on_device = self.given(queries), None if mask is None else self.given(mask, "bool")
        found = corpus.topk(on_device[0], K, mask=on_device[1])
        np.testing.assert_array_equal(self.host(found.indices), expected)

    @some_metrics
    def test_a_corpus_that_is_not_resident_answers_as_one_that_is(self, metric: str) -> None:
        queries, rows = awkward(rows=ROWS)
        corpus = Corpus(rows, metric=metric, backend=self.backend, resident=False)
        assert not corpus.resident
        assert corpus.vectors is rows
        self.assert_streamed(corpus, queries, rows)
        generator = np.random.default_rng(1)
        self.assert_streamed(corpus, queries, rows, generator.random(ROWS) < 0.5)
        self.assert_streamed(corpus, queries, rows, generator.random((len(queries), ROWS)) < 0.1)

    @some_metrics
    def test_a_range_of_a_corpus_that_is_not_resident_is_the_oracles(self, metric: str) -> None:
        queries, rows = awkward(rows=ROWS)
        threshold = between(metric, 0.3, queries, rows)
        corpus = Corpus(rows, metric=metric, backend=self.backend, resident=False)
        expected = reaching(metric, queries, rows, threshold)
        found = corpus.within(queries, threshold)
        np.testing.assert_array_equal(found.indices, np.concatenate(expected))
        np.testing.assert_array_equal(np.diff(found.offsets), list(map(len, expected)))
        few = corpus.within(queries, threshold, max_per_query=7)
        np.testing.assert_array_equal(few.indices, np.concatenate([ids[:7] for ids in expected]))

    def test_more_rows_may_be_asked_for_than_a_part_has(self) -> None:
        queries, rows = awkward(rows=ROWS)
        found = Corpus(rows, metric="dot", backend=self.backend, resident=False).topk(queries, 600)
        np.testing.assert_array_equal(found.indices, answers("dot", queries, rows, 600)[1])

    def test_rows_that_the_device_has_no_room_for_stay_on_the_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        queries, rows = awkward(rows=ROWS)
        real = self.backend.prepare

        def limited(vectors: Any, metric: Any) -> Any:
            if vectors.shape[0] > 250:
                raise MemoryError
            return real(vectors, metric)

        monkeypatch.setattr(self.backend, "prepare", limited)
        corpus = Corpus(rows, metric="dot", backend=self.backend)
        assert not corpus.resident
        self.assert_streamed(corpus, queries, rows)
        found = topk(queries, rows, K, metric="dot", backend=self.backend)
        np.testing.assert_array_equal(found.indices, answers("dot", queries, rows, K)[1])
        with pytest.raises(MemoryError):
            Corpus(rows, metric="dot", backend=self.backend, resident=True)

    @pytest.mark.parametrize("step", ["upload", "topk"])
    def test_a_part_that_there_is_no_room_for_is_halved(self, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
        queries, rows = awkward(rows=ROWS)
        corpus = Corpus(rows, metric="dot", backend=self.backend, resident=False)
        real, failures = getattr(self.backend, step), iter([False, True, True])

        def failing(*args: Any) -> Any:
            if next(failures, False):
                raise MemoryError
            return real(*args)

        monkeypatch.setattr(self.backend, step, failing)
        self.assert_streamed(corpus, queries, rows)
        assert next(failures, None) is None

    def test_no_room_for_the_smallest_part_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(*args: Any) -> Any:
            raise MemoryError

        corpus = Corpus(awkward(rows=ROWS)[1], backend=self.backend, resident=False)
        monkeypatch.setattr(self.backend, "upload", failing)
        with pytest.raises(MemoryError):
            corpus.topk(awkward()[0])

    @pytest.mark.parametrize("dtype", ["float16", "float64", "int8"])
    def test_a_file_of_any_dtype_is_searched_as_the_values_it_holds(self, dtype: str, tmp_path: Path) -> None:
        rows = (9 * np.random.default_rng(0).standard_normal((ROWS, 24))).astype(dtype)
        np.save(tmp_path / "rows.npy", rows)
        kept = np.load(tmp_path / "rows.npy", mmap_mode="r")
        queries = rows[:9].astype(np.float32)
        for corpus in (Corpus(kept, backend=self.backend, resident=False), Corpus(kept, backend=self.backend)):
            held = self.held(self.given(rows, dtype))[0] if dtype == "float64" else rows
            np.testing.assert_array_equal(corpus.topk(queries, K).indices, answers("cosine", queries, held, K)[1])
        found = within(queries, kept, 0.3, backend=self.backend)
        np.testing.assert_array_equal(found.indices, np.concatenate(reaching("cosine", queries, held, 0.3)))

    def test_an_empty_corpus_and_no_queries_are_searched(self) -> None:
        queries, rows = awkward(rows=ROWS)
        assert Corpus(rows[:0], backend=self.backend, resident=False).topk(queries).indices.shape == (len(queries), 0)
        assert Corpus(rows, backend=self.backend, resident=False).topk(queries[:0]).indices.shape == (0, 10)

    def test_rows_on_the_device_are_resident_whatever_is_asked(self) -> None:
        corpus = Corpus(self.given(awkward()[1]), backend=self.backend, resident=True)
        assert corpus.resident

    @pytest.mark.parametrize("change", ["add", "update", "remove"])
    def test_a_corpus_that_stays_on_the_host_is_not_changed(self, change: str) -> None:
        queries, rows = awkward(rows=ROWS)
        corpus = Corpus(rows, metric="dot", backend=self.backend, resident=False)
        arguments: dict[str, tuple[Any, ...]] = {"add": (rows[:1],), "update": ([0], rows[:1]), "remove": ([0],)}
        with pytest.raises(NotSupported, match="stays on the host is searched and not changed"):
            getattr(corpus, change)(*arguments[change])
        self.assert_streamed(corpus, queries, rows)

    def test_the_pairs_of_a_corpus_that_is_not_resident_are_those_of_its_rows(self) -> None:
        rows = awkward(rows=100)[1]
        found, expected = pairs(Corpus(rows, backend=self.backend, resident=False), k=5), pairs(rows, k=5)
        np.testing.assert_array_equal(found.left, expected.left)
