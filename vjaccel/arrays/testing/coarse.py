"""Coarser scans: the same answers as without one, in the worst cases too, or the word that there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Corpus, TopK, topk
from vjaccel.arrays.dispatch import at_work
from vjaccel.arrays.protocol import Coarse, Metric, Scanning
from vjaccel.arrays.testing.oracle import answers, awkward, reaching
from vjaccel.arrays.testing.search import DIM, LAYOUTS, QUERIES, ROWS, K, normal
from vjaccel.arrays.testing.subject import FLOATS, Subject
from vjaccel.errors import NotSupported

__all__ = ["CoarseConformance"]

every_metric = pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean", "sqeuclidean"])
two_metrics = pytest.mark.parametrize("metric", ["dot", "euclidean"])
every_scan = pytest.mark.parametrize("scan", ["tf32", "float16"])


class CoarseConformance(Subject):
    """Corpus(..., scan="tf32" or "float16")."""

    def coarse(self, rows: Any, metric: str, scan: Coarse) -> Corpus:
        if scan not in self.backend.capabilities.scans:
            pytest.skip(f"the backend's device has no scan {scan!r}")
        return Corpus(rows, metric=metric, backend=self.backend, scan=scan)

    def scanned(
        self, queries: Any, rows: Any, metric: str, scan: Coarse, k: int = K, mask: np.ndarray | None = None
    ) -> TopK:
        """The answers by a coarser scan, which must be the oracle's."""
        found = self.coarse(rows, metric, scan).topk(
            queries, k, mask=None if mask is None else self.given(mask, "bool")
        )
        wanted, held = self.held(queries, rows)
        np.testing.assert_array_equal(self.host(found.indices), answers(metric, wanted, held, k, mask)[1])
        return found

    @every_scan
    def test_a_device_without_a_coarser_scan_says_so(self, scan: Coarse) -> None:
        if scan in self.backend.capabilities.scans:
            pytest.skip("the backend's device has it")
        place = f"{self.backend.name}:{self.backend.device}"
        with pytest.raises(NotSupported, match=f"backend '{place}' has no scan '{scan}': .*; leave it out"):
            Corpus(self.given(normal(3)), backend=self.backend, scan=scan)

    @every_scan
    def test_a_metric_that_is_no_product_has_no_coarser_scan(self, scan: Coarse) -> None:
        if scan not in self.backend.capabilities.scans:
            pytest.skip(f"the backend's device has no scan {scan!r}")
        with pytest.raises(NotSupported, match="metric 'manhattan' is none"):
            Corpus(self.given(normal(3)), metric="manhattan", backend=self.backend, scan=scan)

    @pytest.mark.parametrize("dtype", FLOATS)
    @every_metric
    @every_scan
    def test_by_a_coarser_scan_the_ids_are_the_oracles_among_what_is_awkward(
        self, scan: Coarse, metric: str, dtype: str
    ) -> None:
        queries, rows = (self.given(x, dtype) for x in awkward())
        self.scanned(queries, rows, metric, scan)

    @pytest.mark.parametrize("spread", [0.0, 3.0])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @every_metric
    @every_scan
    def test_no_score_of_a_coarser_scan_is_further_from_the_exact_one_than_its_bound(
        self, scan: Coarse, metric: str, dtype: str, spread: float
    ) -> None:
        if scan not in self.backend.capabilities.scans:
            pytest.skip(f"the backend's device has no scan {scan!r}")
        assert isinstance(self.backend, Scanning)
        generator = np.random.default_rng(5)
        # Of one sign, so that errors add up; and of magnitudes that float16 alone could not hold beside each other.
        queries, rows = (
            self.given(np.abs(normal(n, n)) * 10.0 ** (spread * generator.standard_normal((n, DIM))), dtype)
            for n in (QUERIES, ROWS)
        )
        with at_work(self.backend):
            prepared = self.backend.prepare_scanned(rows, Metric(metric), scan)
            scores, ids = self.backend.scan(queries, prepared, ROWS, None)
            exact = self.backend.to_numpy(self.backend.rescore(queries, prepared, ids))
            absolute, relative = self.backend.error_bound(queries, prepared)
            bounds = self.backend.to_numpy(absolute)[:, None] + relative * np.abs(exact)
        off = np.abs(self.backend.to_numpy(scores).astype(np.float64) - exact)
        assert (off <= bounds).all()
        assert (off > 1e-8 * np.abs(exact)).any(), "a coarser scan is not exact"

    @every_metric
    @every_scan
    def test_by_a_coarser_scan_values_are_those_without_one(self, scan: Coarse, metric: str) -> None:
        wanted, rows = self.given(normal(QUERIES, seed=1)), self.given(normal(ROWS, seed=2))
        found = self.scanned(wanted, rows, metric, scan)
        usual = topk(wanted, rows, K, metric=metric, backend=self.backend)
        np.testing.assert_array_equal(self.host(found.values), self.host(usual.values))

    @pytest.mark.parametrize("queries", [1e-30, 1.0, 1e12])
    @pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
    @every_metric
    @every_scan
    def test_by_a_coarser_scan_the_ids_are_the_oracles_at_every_magnitude(
        self, scan: Coarse, metric: str, scale: float, queries: float
    ) -> None:
        self.scanned(self.given(queries * normal(4, seed=1)), self.given(scale * normal(ROWS, seed=2)), metric, scan)

    @pytest.mark.parametrize("dim", [1, 130, 3000])
    @two_metrics
    @every_scan
    def test_by_a_coarser_scan_the_ids_are_the_oracles_at_every_width(
        self, scan: Coarse, metric: str, dim: int
    ) -> None:
        self.scanned(self.given(normal(5, 1, dim)), self.given(normal(200, 2, dim)), metric, scan)

    @two_metrics
    @every_scan
    def test_columns_that_float16_cannot_hold_beside_each_other_are_no_error(self, scan: Coarse, metric: str) -> None:
        rows, queries = normal(ROWS, seed=1), normal(5, seed=2)
        rows[:, 3] *= 1e9
        queries[1:, 3] = 0
        self.scanned(self.given(queries), self.given(rows), metric, scan)

    @two_metrics
    @every_scan
    def test_a_corpus_of_which_half_is_one_row_is_scanned(self, scan: Coarse, metric: str) -> None:
        rows = normal(ROWS, seed=3)
        rows[np.random.default_rng(4).permutation(ROWS)[: ROWS // 2]] = rows[17]
        self.scanned(self.given(np.stack([rows[17], *normal(3, seed=5)])), self.given(rows), metric, scan)

    @pytest.mark.parametrize("apart", [1e-2, 1e-5])
    @two_metrics
    @every_scan
    def test_rows_closer_to_each_other_than_the_scan_can_tell_are_in_order(
        self, scan: Coarse, metric: str, apart: float
    ) -> None:
        rows = normal(1, seed=6) + apart * normal(ROWS, seed=7)
        self.scanned(self.given(rows[:3] + apart * normal(3, seed=8)), self.given(rows), metric, scan)

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
    @pytest.mark.parametrize("each", ["one mask", "a mask a query"])
    @every_scan
    def test_by_a_coarser_scan_a_masked_row_is_never_returned(self, scan: Coarse, each: str, share: float) -> None:
        mask = np.random.default_rng(1).random((QUERIES, ROWS) if each == "a mask a query" else ROWS) < share
        queries, rows = (self.given(x) for x in awkward())
        self.scanned(queries, rows, "cosine", scan, mask=mask)

    @pytest.mark.parametrize("layout", LAYOUTS)
    @every_scan
    def test_the_layout_in_memory_does_not_matter_to_a_coarser_scan(self, scan: Coarse, layout: str) -> None:
        laid, view = LAYOUTS[layout]
        self.scanned(self.given(normal(5)), view(self.given(laid(normal(ROWS, seed=1)))), "euclidean", scan)

    @pytest.mark.parametrize("rows", [5, 65])
    @every_scan
    def test_a_k_above_the_rows_of_a_coarser_scan_gives_all_of_them(self, scan: Coarse, rows: int) -> None:
        self.scanned(self.given(normal(3)), self.given(normal(rows, seed=1)), "cosine", scan, min(50, rows))

    @every_scan
    def test_an_empty_corpus_is_scanned_as_coarsely(self, scan: Coarse) -> None:
        self.scanned(self.given(normal(3)), self.given(np.zeros((0, DIM))), "dot", scan)

    @pytest.mark.parametrize("metric", ["cosine", "euclidean"])
    @every_scan
    def test_by_a_coarser_scan_a_range_has_the_oracles_rows(self, scan: Coarse, metric: str) -> None:
        queries, rows = (self.given(normal(n, n)) for n in (5, ROWS))
        threshold = 0.2 if metric == "cosine" else 6.0
        found = self.coarse(rows, metric, scan).within(queries, threshold)
        wanted, held = self.held(queries, rows)
        expected = reaching(metric, wanted, held, threshold)
        np.testing.assert_array_equal(self.host(found.indices), np.concatenate(expected))
        np.testing.assert_array_equal(np.diff(self.host(found.offsets)), [len(x) for x in expected])

    @two_metrics
    @every_scan
    def test_a_coarsely_scanned_corpus_that_is_changed_answers_as_if_made_anew(self, scan: Coarse, metric: str) -> None:
        rows = self.given(normal(ROWS))
        self.assert_changed_as_anew(self.coarse(rows, metric, scan), rows)
