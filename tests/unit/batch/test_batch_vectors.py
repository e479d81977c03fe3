"""Operations on vectors in batches: the numbers of the arrays' own operations, each bad vector an error of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vjaccel as vj

ROWS = np.random.default_rng(3).standard_normal((50, 8), dtype=np.float32)
QUERY = ROWS[0] + 0.5


def done(config: vj.BatchConfig | None = None, **request: Any) -> Any:
    with vj.BatchProcessor(config) as processor:
        return processor.process_batch_vectors(vj.BatchVectorRequest(**request))


def given(kind: str) -> Any:
    """The rows as a user may have them."""
    if kind == "vectors":
        return [vj.Vector(f"v{i}", row.tolist(), {"number": i}) for i, row in enumerate(ROWS)]
    return {"array": ROWS, "lists": ROWS.tolist(), "rows": list(ROWS), "wide": ROWS.astype(np.float64)}[kind]


KINDS = ["array", "lists", "rows", "wide", "vectors"]
SIZES = [None, 1, 7, 50]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", SIZES)
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_similarity_is_that_of_the_arrays(kind: str, batch_size: int | None, metric: str) -> None:
    found = done(
        operation="similarity", vectors=given(kind), query_vector=QUERY, batch_size=batch_size, max_concurrent=4,
        options={"metric": metric},
    )  # fmt: skip
    np.testing.assert_allclose(found.scores, vj.similarity(ROWS, QUERY, metric=metric), rtol=1e-5, atol=1e-6)
    assert (found.results, found.errors, found.statistics.processed) == (None, (), 50)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
def test_distance_is_that_of_the_arrays(kind: str, metric: str) -> None:
    found = done(
        operation="distance", vectors=given(kind), query_vector=QUERY.tolist(), batch_size=7, options={"metric": metric}
    )
    np.testing.assert_allclose(found.scores, vj.distance(ROWS, QUERY, metric=metric), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", SIZES)
def test_normalize_is_that_of_the_arrays(kind: str, batch_size: int | None) -> None:
    found = done(operation="normalize", vectors=given(kind), batch_size=batch_size)
    np.testing.assert_allclose(found.results, vj.normalize(ROWS), rtol=1e-5)
    assert found.scores is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_search_finds_what_topk_finds(kind: str, batch_size: int | None) -> None:
    found = done(
        operation="search", vectors=given(kind), query_vector=ROWS[4:7], batch_size=batch_size, options={"k": 3}
    )
    values, indices = vj.topk(ROWS[4:7], ROWS, k=3)
    name = "v{}" if kind == "vectors" else "{}"
    assert [[hit.id for hit in hits] for hits in found.results] == [[name.format(i) for i in row] for row in indices]
    np.testing.assert_allclose([[hit.score for hit in hits] for hits in found.results], values, atol=1e-6)
    assert found.results[0][0].metadata == ({"number": 4} if kind == "vectors" else None)


def test_a_search_with_one_query_answers_it_alone_and_no_more_than_there_are() -> None:
    found = done(operation="search", vectors=ROWS[:3], query_vector=ROWS[1], options={"k": 9})
    assert [hits[0].id for hits in found.results] == ["1"]
    assert len(found.results[0]) == 3


BAD = [
    (None, "NIL_VECTOR"),
    (vj.Vector("a", None), "EMPTY_EMBEDDING"),
    (vj.Vector("b", []), "EMPTY_EMBEDDING"),
    ([], "EMPTY_EMBEDDING"),
    (vj.Vector("c", [1.0, np.nan] * 4), "INVALID_EMBEDDING"),
    ([np.inf] * 8, "INVALID_EMBEDDING"),
    ("12345678", "INVALID_EMBEDDING"),
    (["1"] * 8, "INVALID_EMBEDDING"),
    (vj.Vector("d", [[1.0] * 8]), "INVALID_EMBEDDING"),
    ([1.0, [2.0]], "INVALID_EMBEDDING"),
    ({}, "INVALID_EMBEDDING"),
    ([1.0] * 7, "DIMENSION_MISMATCH"),
    (vj.Vector("e", [1.0]), "DIMENSION_MISMATCH"),
]


@pytest.mark.parametrize("operation", ["similarity", "distance", "normalize", "search"])
@pytest.mark.parametrize("batch_size", [2, 100])
def test_each_bad_vector_is_an_error_of_its_own_and_the_others_go_through(operation: str, batch_size: int) -> None:
    bad = [item for item, _ in BAD]
    vectors = [ROWS[0], *bad, ROWS[1]]
    query = None if operation == "normalize" else QUERY
    found = done(operation=operation, vectors=vectors, query_vector=query, batch_size=batch_size)
    assert [(error.index, error.code) for error in found.errors] == [(i + 1, code) for i, (_, code) in enumerate(BAD)]
    assert (found.statistics.total, found.statistics.processed, found.statistics.failed) == (15, 2, 13)
    if operation == "search":
        assert {hit.id for hit in found.results[0]} == {"0", "14"}
    else:
        rows = found.results if operation == "normalize" else found.scores[:, None]
        assert np.flatnonzero(np.isfinite(rows).all(axis=1)).tolist() == [0, 14]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("operation", ["similarity", "normalize"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_row_of_an_array_that_is_not_finite_is_an_error(value: float, operation: str, dtype: str) -> None:
    rows = ROWS.astype(dtype)
    rows[7, 3] = value
    query = None if operation == "normalize" else QUERY
    found = done(operation=operation, vectors=rows, query_vector=query, batch_size=5)
    assert [(error.index, error.code) for error in found.errors] == [(7, "INVALID_EMBEDDING")]


@pytest.mark.parametrize("row", [[1e300] * 8, np.full(8, 1e300), np.full(8, 10**400, object)])
def test_a_row_of_a_list_that_no_float32_holds_is_an_error(row: Any) -> None:
    found = done(operation="normalize", vectors=[ROWS[0], row])
    assert [(error.index, error.code) for error in found.errors] == [(1, "INVALID_EMBEDDING")]


def test_numbers_whose_squares_overflow_are_good() -> None:
    found = done(operation="normalize", vectors=ROWS * 1e30)
    assert found.errors == ()
    np.testing.assert_allclose(found.results, vj.normalize(ROWS), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", ["similarity", "distance", "search"])
def test_a_query_whose_width_no_vector_has_is_the_calls_error(kind: str, operation: str) -> None:
    with pytest.raises(vj.InvalidInput, match="query_vector has width 2, and the vectors 8; they must be the same"):
        done(operation=operation, vectors=given(kind), query_vector=[1.0, 2.0])


@pytest.mark.parametrize("operation", ["similarity", "distance", "search"])
def test_vectors_of_another_width_than_the_query_are_errors_where_some_have_it(operation: str) -> None:
    found = done(operation=operation, vectors=[[1.0], None, ROWS[0]], query_vector=QUERY)
    assert [(error.index, error.code) for error in found.errors] == [(0, "DIMENSION_MISMATCH"), (1, "NIL_VECTOR")]


@pytest.mark.parametrize("operation", ["similarity", "normalize", "search"])
def test_nothing_gives_nothing(operation: str) -> None:
    found = done(operation=operation, vectors=[], query_vector=None if operation == "normalize" else QUERY)
    assert (found.errors, found.statistics.total) == ((), 0)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"operation": "similarity", "vectors": ROWS}, "needs a query_vector"),
        ({"operation": "similarity", "vectors": ROWS, "query_vector": [np.nan] * 8}, "query_vector has a NaN"),
        ({"operation": "similarity", "vectors": ROWS, "query_vector": "near"}, "query_vector is"),
        ({"operation": "similarity", "vectors": ROWS, "query_vector": ROWS}, r"it needs numbers, \(dim,\)"),
        ({"operation": "normalize", "vectors": ROWS, "query_vector": QUERY}, "normalize takes no query_vector"),
        ({"operation": "normalize", "vectors": ROWS[0]}, r"vectors has shape \(8,\); it needs \(n, dim\)"),
        ({"operation": "normalize", "vectors": "text"}, "vectors is an array or a list of vectors, not str"),
        (
            {"operation": "distance", "vectors": ROWS, "query_vector": QUERY, "options": {"metric": "dot"}},
            r'call similarity\(metric="dot"\)',
        ),
    ],
)
def test_what_does_not_go_together_is_said(request_: dict[str, Any], said: str) -> None:
    with pytest.raises(vj.InvalidInput, match=said):
        done(**request_)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"operation": "sort"}, "operation 'sort' is unknown; there are insert, update"),
        ({"operation": "normalize", "options": {"k": 3}}, "option 'k' is unknown to normalize; there are backend"),
        ({"operation": "insert", "options": {"k": 3}}, "option 'k' is unknown to insert; it has none"),
    ],
)
def test_a_request_that_makes_no_sense_is_not_made(request_: dict[str, Any], said: str) -> None:
    with pytest.raises(vj.InvalidInput, match=said):
        vj.BatchVectorRequest(**request_)


@pytest.mark.parametrize("operation", ["similarity", "distance", "normalize", "search"])
def test_without_simd_the_plain_path_gives_the_same(operation: str) -> None:
    plain = vj.BatchConfig(vector_config={"enable_simd": False})
    asked = {"operation": operation, "vectors": ROWS, "query_vector": None if operation == "normalize" else QUERY}
    one, other = done(plain, **asked), done(**asked)
    if operation == "search":
        assert [hit.id for hit in one.results[0]] == [hit.id for hit in other.results[0]]
    else:
        np.testing.assert_allclose(
            *(found.results if operation == "normalize" else found.scores for found in (one, other)), atol=1e-5
        )


def test_a_named_backend_does_the_work() -> None:
    found = done(operation="normalize", vectors=ROWS, options={"backend": "torch:cpu"})
    np.testing.assert_allclose(found.results, vj.normalize(ROWS), rtol=1e-5)


def test_the_backend_of_a_block_holds_for_the_batches_in_it() -> None:
    with vj.use_backend("torch:cpu"):
        found = done(operation="similarity", vectors=ROWS, query_vector=QUERY, batch_size=7)
    np.testing.assert_allclose(found.scores, vj.similarity(ROWS, QUERY), atol=1e-6)


def test_arrays_of_another_library_are_taken() -> None:
    torch = pytest.importorskip("torch")
    rows = torch.from_numpy(ROWS.copy())
    rows[3, 0] = torch.nan
    found = done(operation="similarity", vectors=rows, query_vector=torch.from_numpy(QUERY), batch_size=20)
    assert [error.index for error in found.errors] == [3]
    assert isinstance(found.scores, np.ndarray)
