"""The kernels' own promises, which the certificate of `vjaccel.arrays.certify` rests on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, ClassVar

import array_api_compat.numpy
import numpy as np
import pytest

from vjaccel.arrays.dispatch import at_work
from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Backend, Metric
from vjaccel.arrays.registry import get_backend
from vjaccel.arrays.testing.oracle import METRICS, awkward
from vjaccel.arrays.testing.subject import DTYPES, Subject

__all__ = ["ContractConformance"]

every_metric = pytest.mark.parametrize("metric", METRICS)
kernels = pytest.mark.usefixtures("as_called")
every_float = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


class Reference(GenericBackend):
    """The generic formulas in NumPy: whose exact scores are everyone's."""

    name: ClassVar[str] = "reference"
    array_modules: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ("numpy",)
    install: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__("cpu", array_api_compat.numpy)


class ContractConformance(Subject):
    """What `vjaccel.arrays.protocol.Backend` asks of a backend."""

    @pytest.fixture
    def as_called(self, subject: object) -> Iterator[None]:
        """As around every call of a kernel."""
        with at_work(subject) if isinstance(subject, Backend) else nullcontext():
            yield

    def exact(self, metric: str, queries: Any, rows: Any, ids: np.ndarray) -> np.ndarray:
        prepared = self.backend.prepare(rows, Metric(metric))
        return self.backend.to_numpy(self.backend.rescore(queries, prepared, self.backend.asarray(ids)))

    def test_it_is_a_backend_on_one_of_its_devices(self) -> None:
        assert isinstance(self.backend, Backend)
        assert self.backend.device in self.backend.devices()
        assert get_backend(f"{self.backend.name}:{self.backend.device}").device == self.backend.device

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(3, 4), (5,), (), (0, 4)])
    def test_an_array_goes_to_the_device_and_back_unchanged(self, shape: tuple[int, ...], dtype: str) -> None:
        x = np.arange(np.prod(shape, dtype=int)).reshape(shape)
        found = self.backend.to_numpy(self.given(x, dtype))
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, x.astype(bool) if dtype == "bool" else x)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_its_own_array_comes_through_unchanged(self, dtype: str) -> None:
        x = self.given(np.arange(12).reshape(3, 4), dtype)
        again = self.backend.asarray(x)
        assert (type(again), again.dtype) == (type(x), x.dtype)
        np.testing.assert_array_equal(self.host(again), self.held(x)[0])

    def test_memory_that_runs_out_is_known_from_other_errors(self) -> None:
        assert self.backend.is_out_of_memory(MemoryError())
        assert not self.backend.is_out_of_memory(ValueError("a shape"))

    def test_waiting_for_the_device_returns(self) -> None:
        self.given(np.ones((3, 4)))
        self.backend.synchronize()

    @kernels
    def test_a_prepared_corpus_keeps_what_it_was_given(self) -> None:
        rows = self.given(np.ones((30, 4)))
        prepared = self.backend.prepare(rows, Metric.EUCLIDEAN)
        assert (prepared.metric, prepared.rows, prepared.dim) == (Metric.EUCLIDEAN, 30, 4)
        np.testing.assert_array_equal(self.held(prepared.vectors)[0], self.held(rows)[0])

    @kernels
    @every_float
    @every_metric
    def test_exact_scores_are_the_references_bit_for_bit(self, metric: str, dtype: str) -> None:
        generator = np.random.default_rng(0)
        queries, rows = generator.standard_normal((9, 24)), generator.standard_normal((600, 24))
        rows[3], rows[5] = 0, rows[5] * 1e-4
        ids = generator.integers(0, 600, (9, 50))
        ids[0, 3] = -1
        x, y = self.given(queries, dtype), self.given(rows, dtype)
        found = self.exact(metric, x, y, ids)
        reference = Reference()
        expected = reference.rescore(self.held(x)[0], reference.prepare(self.held(y)[0], Metric(metric)), ids)
        np.testing.assert_array_equal(found, expected)

    @kernels
    @every_metric
    def test_equal_rows_have_equal_exact_scores_wherever_they_lie(self, metric: str) -> None:
        generator = np.random.default_rng(1)
        rows = generator.standard_normal((3000, 24))
        places = np.sort(generator.permutation(3000)[:700])
        rows[places] = rows[0]
        scores = self.exact(metric, self.given(rows[:9]), self.given(rows), np.tile(places, (9, 1)))
        assert [len(np.unique(row)) for row in scores] == [1] * 9

    @kernels
    @every_float
    @every_metric
    def test_a_scan_is_within_its_bound_of_the_exact_score(self, metric: str, dtype: str) -> None:
        generator = np.random.default_rng(2)
        queries, rows = (
            generator.standard_normal((n, 24)) * generator.choice([0, 0.1, 1, 30], (n, 1)) for n in (9, 600)
        )
        x, y = self.given(queries + 2, dtype), self.given(rows + 2, dtype)
        prepared = self.backend.prepare(y, Metric(metric))
        scores, ids = self.backend.scan(x, prepared, 600, None)
        with self.backend.float64():
            exact = self.backend.to_numpy(self.backend.rescore(x, prepared, ids))
            bound, relative = self.backend.error_bound(x, prepared)
            absolute = self.backend.to_numpy(bound)
        found = self.backend.to_numpy(scores).astype(np.float64)
        assert np.isfinite(absolute).all()
        assert (np.abs(found - exact) <= absolute[:, None] + relative * np.abs(exact)).all()
        assert not (found == exact).all(), "the scan is exact: this test shows nothing"

    @kernels
    @every_metric
    def test_a_scan_returns_each_row_once_and_none_that_is_refused(self, metric: str) -> None:
        queries, rows = awkward(rows=600)
        mask = np.random.default_rng(2).random(600) < 0.5
        prepared = self.backend.prepare(self.given(rows), Metric(metric))
        _, ids = self.backend.scan(self.given(queries), prepared, 600, self.given(mask, "bool"))
        allowed = np.flatnonzero(mask & np.isfinite(rows.astype(np.float32)).all(axis=1))
        for query, row in zip(queries, self.backend.to_numpy(ids), strict=True):
            if np.isfinite(query).all():
                np.testing.assert_array_equal(np.sort(row[row >= 0]), allowed)

    @kernels
    @every_metric
    def test_every_row_above_a_line_is_given(self, metric: str) -> None:
        queries, rows = (np.random.default_rng(n).standard_normal((n, 24)) for n in (9, 600))
        x = self.given(queries)
        mask = np.random.default_rng(3).random((9, 600)) < 0.8
        prepared = self.backend.prepare(self.given(rows), Metric(metric))
        allowed = self.given(mask, "bool")
        scores, ids = (self.backend.to_numpy(found) for found in self.backend.scan(x, prepared, 600, allowed))
        # Between two scores, so that rounding the other way in another tile changes nothing.
        ordered = np.sort(scores.astype(np.float64), axis=1)[:, ::-1]
        lines = (ordered[:, 40] + ordered[:, 41]) / 2
        with self.backend.float64():
            thresholds = self.backend.asarray(lines)
        got: list[set[int]] = [set() for _ in queries]
        for offsets, part in self.backend.above(x, prepared, thresholds, allowed):
            for i, chosen in enumerate(got):
                chosen.update(self.backend.to_numpy(part)[offsets[i] : offsets[i + 1]].tolist())
        assert got == [set(row[score > line].tolist()) for row, score, line in zip(ids, scores, lines, strict=True)]
