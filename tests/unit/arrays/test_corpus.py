"""A corpus prepared once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vjaccel as vj

ROWS = np.random.default_rng(0).standard_normal((50, 8))


def test_it_says_what_it_is() -> None:
    corpus = vj.Corpus(ROWS, metric="dot")
    assert repr(corpus) == "<Corpus of 50 x 8, dot, on numpy:cpu>"
    assert (len(corpus), corpus.dim, corpus.metric, corpus.backend.name) == (50, 8, "dot", "numpy")


def test_it_does_not_copy_what_it_is_given() -> None:
    assert vj.Corpus(ROWS).vectors is ROWS


def test_an_operation_on_it_takes_its_metric() -> None:
    corpus = vj.Corpus(ROWS, metric="manhattan")
    np.testing.assert_array_equal(vj.distance(ROWS[:3], corpus), vj.distance(ROWS[:3], ROWS, metric="manhattan"))
    np.testing.assert_array_equal(vj.topk(ROWS[:3], corpus, 4).indices, corpus.topk(ROWS[:3], 4).indices)


def test_its_own_metric_and_backend_may_be_said_again() -> None:
    corpus = vj.Corpus(ROWS, metric="euclidean")
    found = vj.topk(ROWS[:3], corpus, 4, metric="euclidean", backend="numpy")
    np.testing.assert_array_equal(found.indices[:, 0], [0, 1, 2])


@pytest.mark.parametrize(("queries", "rows"), [("float32", "float64"), ("float64", "float32"), ("int64", "float32")])
def test_values_are_float64_where_either_side_is(queries: str, rows: str) -> None:
    found = vj.Corpus(ROWS.astype(rows)).topk((9 * ROWS[:3]).astype(queries), 2)
    assert found.values.dtype == np.float64


@pytest.mark.parametrize("rows", [0, 5])
def test_an_empty_corpus_and_no_queries_are_searched(rows: int) -> None:
    corpus = vj.Corpus(ROWS[:rows])
    assert corpus.topk(ROWS[:2]).indices.shape == (2, rows)
    assert corpus.topk(ROWS[:0]).indices.shape == (0, rows)
    assert corpus.topk(ROWS[0]).values.shape == (rows,)


def test_a_sketch_that_nobody_knows_is_refused() -> None:
    with pytest.raises(vj.InvalidInput, match="sketch 'int4' is unknown; it is 'int8', or None"):
        vj.Corpus(ROWS, sketch="int4")  # type: ignore[arg-type]  # that is what is refused


def test_a_scan_that_nobody_knows_is_refused() -> None:
    with pytest.raises(vj.InvalidInput, match="scan 'bfloat16' is unknown; it is 'tf32', 'float16', or None"):
        vj.Corpus(ROWS, scan="bfloat16")  # type: ignore[arg-type]  # that is what is refused


def test_a_corpus_is_scanned_by_a_sketch_or_coarsely_but_not_both() -> None:
    with pytest.raises(vj.InvalidInput, match="sketch='int8' and scan='tf32' are two ways"):
        vj.Corpus(ROWS, sketch="int8", scan="tf32")


def test_a_sketch_takes_a_quarter_of_float32s_bytes() -> None:
    prepared: Any = vj.Corpus(np.ones((1000, 384), np.float32), sketch="int8")._held.prepared
    assert sum(x.nbytes for x in (prepared.codes, prepared.scales, prepared.errors)) == 1000 * 392


def test_its_device_is_not_the_calls_block(calls: Any) -> None:
    corpus = vj.Corpus(ROWS)
    with vj.use_backend("loopback"):
        found = corpus.topk(ROWS[:2], 1)
    assert calls == []
    assert found.indices.tolist() == [[0], [1]]


def test_made_in_a_block_it_is_on_that_backend(calls: Any) -> None:
    with vj.use_backend("loopback:gpu:1"):
        corpus = vj.Corpus(ROWS)
    found = corpus.topk(ROWS[:2], 1)
    assert calls == [("topk", "loopback:gpu:1")]
    assert type(found.indices) is np.ndarray


def test_device_queries_are_not_pulled_to_a_corpus_on_the_host_unasked(on: Any) -> None:
    with pytest.raises(TypeError, match=r"Corpus\(\.\.\., backend='loopback:gpu:0'\), or convert the queries"):
        vj.Corpus(ROWS).topk(on("loopback", ROWS[:2]))


def test_device_queries_come_to_a_corpus_that_was_put_somewhere_by_name(on: Any) -> None:
    found = vj.Corpus(ROWS, backend="numpy").topk(on("loopback:gpu:1", ROWS[:2]), 1)
    assert found.indices.place == "gpu:1"


def test_a_whole_result_is_the_callers_to_write_to() -> None:
    found = vj.Corpus(ROWS).topk(ROWS[:2], 3)
    found.values[:], found.indices[:] = 0, 0
    assert not found.values.any()
