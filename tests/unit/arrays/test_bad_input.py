"""What no operation takes is one clear sentence, before any backend sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vjaccel as vj

GOOD = np.eye(3)

PAIRED: dict[str, Callable[..., Any]] = {
    "similarity": vj.similarity,
    "distance": vj.distance,
    "paired_similarity": vj.paired_similarity,
    "paired_distance": vj.paired_distance,
    "topk": vj.topk,
}
every_pair = pytest.mark.parametrize("operation", PAIRED.values(), ids=list(PAIRED))

SHAPES: list[tuple[Any, str]] = [
    (np.ones((2, 3, 3)), r"has shape \(2, 3, 3\); it needs \(n, dim\) or \(dim,\)"),
    (np.float32(3), r"has shape \(\); it needs"),
    (3.0, r"has shape \(\); it needs"),
    (np.ones((4, 0)), r"has shape \(4, 0\): vectors of no width; an empty batch is \(0, dim\)"),
    ([], r"has shape \(0,\): vectors of no width"),
    ([[1.0, 2.0, 3.0], [1.0, 2.0]], r"is not an array: its rows have different widths \(2, 3\)"),
    ([[1.0], 2.0], r"is not an array: its rows have different widths"),
]
KINDS: list[tuple[Any, str]] = [
    (np.ones((2, 3), complex), "has dtype complex128; it needs real numbers: bfloat16, float16, float32, float64"),
    (np.asarray([["a", "b", "c"]]), "has dtype str"),
    (np.asarray([[1, None, 3]]), "has dtype object"),
    (np.ones((2, 3), "datetime64[s]"), "has dtype datetime64"),
    ("some text", r"shape|dtype"),
    (np.ones((2, 3), np.longdouble), "has dtype (float128|longdouble)"),
]


@pytest.mark.parametrize(("x", "message"), SHAPES)
@every_pair
def test_a_shape_that_is_no_vectors_is_said(operation: Any, x: Any, message: str) -> None:
    with pytest.raises(vj.InvalidInput, match=message):
        operation(x, GOOD)


@pytest.mark.parametrize(("x", "message"), SHAPES)
def test_a_shape_that_cannot_be_normalized_is_said(x: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vj.normalize(x)


@pytest.mark.parametrize(("x", "message"), KINDS)
@every_pair
def test_what_is_no_real_numbers_is_a_type_error(operation: Any, x: Any, message: str) -> None:
    with pytest.raises((vj.InvalidType, vj.InvalidInput), match=message) as caught:
        operation(x, GOOD)
    assert isinstance(caught.value, TypeError) or x == "some text"


@every_pair
def test_widths_that_differ_are_both_said(operation: Any) -> None:
    with pytest.raises(vj.InvalidInput, match=r"of width 3 and .* of width 2; they must be the same"):
        operation(GOOD, np.ones((3, 2)))


@pytest.mark.parametrize("operation", [vj.paired_similarity, vj.paired_distance])
@pytest.mark.parametrize("b", [np.ones((2, 3)), np.ones((1, 3)), np.ones(3)])
def test_row_by_row_needs_as_many_rows(operation: Any, b: np.ndarray) -> None:
    with pytest.raises(vj.InvalidInput, match=r"a has 3 vectors and b \d; row by row they must be as many"):
        operation(GOOD, b)


def test_one_vector_and_a_batch_of_one_are_not_row_by_row() -> None:
    with pytest.raises(vj.InvalidInput, match="row by row"):
        vj.paired_distance(np.ones(3), np.ones((1, 3)))


# Metrics


@every_pair
def test_an_unknown_metric_lists_the_known_and_names_the_near_one(operation: Any) -> None:
    with pytest.raises(vj.InvalidInput, match=r"metric 'cosin' is unknown; did you mean 'cosine'\?; known here: '"):
        operation(GOOD, GOOD, metric="cosin")


@pytest.mark.parametrize("metric", ["xyz", 3, 3.5])
@every_pair
def test_what_is_near_no_metric_is_unknown(operation: Any, metric: Any) -> None:
    with pytest.raises(vj.InvalidInput, match="is unknown; known here"):
        operation(GOOD, GOOD, metric=metric)


@pytest.mark.parametrize(
    ("operation", "metric", "instead"),
    [
        (vj.similarity, "euclidean", r'distance\(metric="euclidean"\)'),
        (vj.similarity, "manhattan", r'distance\(metric="manhattan"\)'),
        (vj.distance, "dot", r'similarity\(metric="dot"\)'),
        (vj.paired_similarity, "sqeuclidean", r'distance\(metric="sqeuclidean"\)'),
        (vj.paired_distance, "dot", r'similarity\(metric="dot"\)'),
    ],
)
def test_a_metric_of_the_other_family_names_the_right_call(operation: Any, metric: str, instead: str) -> None:
    with pytest.raises(vj.InvalidInput, match=f"metric '{metric}' is not one of .*; call {instead}"):
        operation(GOOD, GOOD, metric=metric)


@pytest.mark.parametrize("metric", list(vj.Metric))
def test_a_metric_is_taken_as_itself_and_by_its_name(metric: vj.Metric) -> None:
    by_name, itself = (vj.topk(GOOD, GOOD, 2, metric=m) for m in (metric.value, metric))
    np.testing.assert_array_equal(by_name.indices, itself.indices)


def test_a_masked_array_is_refused_rather_than_read_without_its_mask() -> None:
    masked = np.ma.masked_array(np.ones((2, 3)), mask=[[True, False, False], [False, False, False]])
    with pytest.raises(vj.InvalidType, match="vectors is a masked array, whose mask would be lost"):
        vj.topk(np.ones((1, 3)), masked)


# k and mask


@pytest.mark.parametrize("k", [0, -1, True, False, np.int64(0)])
def test_k_below_one_or_a_bool_is_said(k: Any) -> None:
    with pytest.raises(vj.InvalidInput, match=r"k must be at least 1, not"):
        vj.topk(GOOD, GOOD, k)


@pytest.mark.parametrize("k", [2**31, 2**63, np.uint64(2**40)])
def test_k_that_an_int32_does_not_hold_is_said(k: Any) -> None:
    with pytest.raises(vj.InvalidInput, match="k must be at most 2147483647, the largest int32, not"):
        vj.topk(GOOD, GOOD, k)


@pytest.mark.parametrize("k", [1.0, "2", None, [1]])
def test_k_that_is_no_whole_number_is_a_type_error(k: Any) -> None:
    with pytest.raises(vj.InvalidType, match="k must be a whole number, not"):
        vj.topk(GOOD, GOOD, k)


@pytest.mark.parametrize("k", [2, np.int8(2), np.uint64(2)])
def test_every_whole_number_is_a_k(k: Any) -> None:
    assert vj.topk(GOOD, GOOD, k).indices.shape == (3, 2)


@pytest.mark.parametrize("mask", [np.ones(3, int), np.ones((3, 3), float), [1, 0, 1], ["a", "b", "c"]])
def test_a_mask_that_is_not_boolean_is_a_type_error(mask: Any) -> None:
    with pytest.raises(vj.InvalidType, match="mask must be boolean, True where a row may be returned; its dtype is"):
        vj.topk(GOOD, GOOD, 1, mask=mask)


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 2), (2, 3), (1, 3), (1, 3, 3), ()])
def test_a_mask_of_another_shape_is_said(shape: tuple[int, ...]) -> None:
    with pytest.raises(vj.InvalidInput, match=r"mask has shape .*; it needs \(3,\) or \(3, 3\)"):
        vj.topk(GOOD, GOOD, 1, mask=np.ones(shape, bool))


def test_a_ragged_mask_is_said() -> None:
    with pytest.raises(vj.InvalidInput, match="mask is not an array: its rows have different widths"):
        vj.topk(GOOD, GOOD, 1, mask=[[True], [True, False, True]])


# Corpus


@pytest.mark.parametrize("x", [np.ones(3), np.ones((2, 3, 3)), np.ones((3, 0))])
def test_a_corpus_is_two_dimensional(x: np.ndarray) -> None:
    with pytest.raises(vj.InvalidInput, match=r"vectors has shape"):
        vj.Corpus(x)


def test_a_corpus_of_an_unknown_metric_is_refused() -> None:
    with pytest.raises(vj.InvalidInput, match="did you mean 'manhattan'"):
        vj.Corpus(GOOD, metric="manhatan")


def test_queries_of_another_width_than_the_corpus_are_refused() -> None:
    with pytest.raises(vj.InvalidInput, match="queries has vectors of width 2 and the corpus of width 3"):
        vj.Corpus(GOOD).topk(np.ones((1, 2)))


@pytest.mark.parametrize("call", [vj.topk, vj.distance], ids=["topk", "distance"])
def test_a_metric_that_contradicts_the_corpus_is_refused(call: Any) -> None:
    with pytest.raises(vj.InvalidInput, match=r"metric='manhattan' contradicts the corpus, .* for 'euclidean'"):
        call(GOOD, vj.Corpus(GOOD, metric="euclidean"), metric="manhattan")


def test_a_corpus_of_the_other_family_names_the_right_call() -> None:
    with pytest.raises(vj.InvalidInput, match=r'call similarity\(metric="dot"\)'):
        vj.distance(GOOD, vj.Corpus(GOOD, metric="dot"))


def test_a_backend_that_contradicts_the_corpus_is_refused(calls: Any) -> None:
    with pytest.raises(vj.InvalidInput, match="backend='loopback' contradicts the corpus, which is on 'numpy:cpu'"):
        vj.topk(GOOD, vj.Corpus(GOOD), backend="loopback")
