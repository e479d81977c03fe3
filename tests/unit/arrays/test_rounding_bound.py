"""The bound that the certificate rests on: no scan is further from the exact score than it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays import Metric
from vjaccel.arrays.testing.contract import Reference
from vjaccel.arrays.testing.oracle import METRICS, answers

KINDS = ("normal", "far queries", "far corpus", "one sign", "wide range")


def vectors(kind: str, queries_dtype: str, corpus_dtype: str, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    queries, corpus = generator.standard_normal((9, 70)), generator.standard_normal((rows, 70))
    if kind == "far queries":
        queries += 3e3
    elif kind == "far corpus":
        queries, corpus = 1000 + 1e-3 * queries, 1000 + 1e-3 * corpus
    elif kind == "one sign":
        queries, corpus = np.abs(queries), np.abs(corpus)
    elif kind == "wide range":
        corpus *= 10.0 ** generator.uniform(-12, 6, (rows, 1))
    return queries.astype(queries_dtype), corpus.astype(corpus_dtype)


@pytest.mark.parametrize(
    "dtypes", [("float32", "float32"), ("float64", "float32"), ("float32", "float64"), ("float64", "float64")]
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", METRICS)
def test_no_score_of_the_scan_is_further_away(metric: str, kind: str, dtypes: tuple[str, str]) -> None:
    queries, corpus = vectors(kind, *dtypes)
    backend = Reference()
    with np.errstate(all="ignore"):
        prepared = backend.prepare(corpus, Metric(metric))
        scanned, ids = backend.scan(queries, prepared, len(corpus), None)
        exact = backend.rescore(queries, prepared, ids)
        absolute, relative = backend.error_bound(queries, prepared)
    assert (np.abs(scanned.astype(np.float64) - exact) <= absolute[:, None] + relative * np.abs(exact)).all()


@pytest.mark.parametrize("spec", ["numpy", "torch:cpu"])
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_queries_finer_than_a_corpus_far_from_zero_find_their_own(metric: str, spec: str) -> None:
    generator = np.random.default_rng(0)
    corpus = (1000 + 1e-3 * generator.standard_normal((5000, 32))).astype(np.float32)
    queries = 1000 + 1e-3 * generator.standard_normal((3, 32))
    try:
        found: Any = vj.topk(queries, corpus, 10, metric=metric, backend=spec)
    except vj.BackendUnavailable as exc:
        pytest.skip(str(exc))
    np.testing.assert_array_equal(found.indices, answers(metric, queries, corpus, 10)[1])
