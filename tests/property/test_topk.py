"""topk on NumPy against the oracle: shapes, equal rows, masks, metrics and dtypes that nobody thought of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vjaccel as vj
from vjaccel.arrays.testing.oracle import METRICS, answers, assert_close, pairs

SETTINGS = settings(
    max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)


class Case(NamedTuple):
    """A search."""

    metric: str
    queries: np.ndarray
    corpus: np.ndarray
    k: int
    mask: np.ndarray | None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Vectors by a seed, rows repeated, zeroed, spoiled; a mask or none."""
    metric = draw(st.sampled_from(METRICS))
    dtype = draw(st.sampled_from(["float16", "float32", "float64"]))
    queries, rows, dim = draw(st.integers(0, 20)), draw(st.integers(0, 300)), draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    offset, spread = draw(st.sampled_from([(0.0, 1.0), (1000.0, 1e-3), (0.0, 1e-12), (5.0, 100.0)]))
    wanted, corpus = ((offset + spread * generator.standard_normal((n, dim))).astype(dtype) for n in (queries, rows))
    if rows:
        equal = generator.permutation(rows)[: draw(st.integers(0, rows))]
        corpus[equal] = corpus[generator.integers(rows)]
        corpus[generator.permutation(rows)[: draw(st.integers(0, 3))]] = draw(st.sampled_from([0.0, np.nan, np.inf]))
    if rows and queries:
        wanted[0] = corpus[generator.integers(rows)]
    shape = draw(st.sampled_from([None, (rows,), (queries, rows)]))
    mask = None if shape is None else generator.random(shape) < draw(st.sampled_from([0.02, 0.5, 1.0]))
    return Case(metric, wanted, corpus, draw(st.integers(1, 400)), mask)


@SETTINGS
@given(cases())
def test_the_ids_are_those_of_a_brute_force_in_float64(case: Case) -> None:
    found = vj.topk(case.queries, case.corpus, case.k, metric=case.metric, mask=case.mask, backend="numpy")
    values, ids = answers(case.metric, case.queries, case.corpus, min(case.k, len(case.corpus)), case.mask)
    np.testing.assert_array_equal(found.indices < 0, ids < 0)
    here = ids >= 0
    every = pairs(case.metric, case.queries, case.corpus)
    chosen = np.take_along_axis(every, found.indices, axis=1)[here] if here.any() else np.empty(0)
    norms = [np.linalg.norm(x.astype(np.float64), axis=1) for x in (case.queries, case.corpus)]
    magnitudes = (norms[0][:, None] * norms[1][ids])[here] if here.any() else np.empty(0)
    # Rows whose scores differ by float64's rounding alone have no order: it depends on the order of a sum.
    assert_close(case.metric, chosen, values[here], magnitudes, 1e-14)
    assert_close(case.metric, found.values[here], values[here], magnitudes, 1e-6)


@SETTINGS
@given(cases())
def test_equal_rows_come_by_their_index_and_none_is_passed_over(case: Case) -> None:
    found = vj.topk(case.queries, case.corpus, case.k, metric=case.metric, mask=case.mask, backend="numpy")
    groups = np.unique(case.corpus, axis=0, return_inverse=True)[1].reshape(-1)
    allowed = np.broadcast_to(True if case.mask is None else case.mask, (len(case.queries), len(case.corpus)))
    for ids, may in zip(found.indices, allowed, strict=True):
        ids = ids[ids >= 0]
        for group in np.unique(groups[ids]):
            mine = ids[groups[ids] == group]
            assert mine.tolist() == np.flatnonzero((groups == group) & may)[: len(mine)].tolist()


@SETTINGS
@given(cases(), st.integers(1, 7))
def test_a_batch_in_parts_gives_the_same_bits(case: Case, size: int) -> None:
    corpus = vj.Corpus(case.corpus, metric=case.metric, backend="numpy")
    whole = corpus.topk(case.queries, case.k)
    for start in range(0, len(case.queries), size):
        part = corpus.topk(case.queries[start : start + size], case.k)
        np.testing.assert_array_equal(part.indices, whole.indices[start : start + size])
        np.testing.assert_array_equal(part.values, whole.values[start : start + size])
