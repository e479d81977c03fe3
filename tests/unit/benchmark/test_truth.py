"""The float64 answers are those of the conformance suite's oracle, and what differs from them is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vjaccel.arrays.testing import oracle
from vjaccel.benchmark import data
from vjaccel.benchmark.cases import OPERATIONS, SIZES, cases, threshold
from vjaccel.benchmark.contender import BackendContender
from vjaccel.benchmark.results import Case
from vjaccel.benchmark.truth import Truth, recall, truth, verdict
from vjaccel.errors import InvalidInput

ROWS, DIM, QUERIES, K = 300, 12, 9, 5
WAYS = ("topk cosine", "topk euclidean", "topk-once cosine", "within cosine", "pairs cosine", "normalize ",
        "similarity cosine", "distance euclidean", "distance manhattan")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows")
    data.write_rows(path, DIM, ROWS, clustered=False)
    return path


def case_of(way: str, dtype: str = "float32") -> Case:
    operation, _, metric = way.partition(" ")
    shape = {"rows": ROWS, "dim": DIM, "k": K} | ({} if operation in ("pairs", "normalize") else {"queries": QUERIES})
    return Case(way, operation, metric or None, dtype, shape, 0.0, 0.0)


def asked(folder: Path, case: Case, number: int = 0) -> tuple[np.ndarray | None, np.ndarray, Truth]:
    rows = data.base(folder, case, copied=False)
    given = data.block(case, rows, number)
    return rows, given, truth(case, rows, given, np.arange(case.shape.get("queries", ROWS)))


def computed(folder: Path, case: Case, number: int = 0) -> dict[str, np.ndarray]:
    contender = BackendContender("numpy")
    rows = data.base(folder, case)
    call = contender.prepared(case, rows, None)
    return contender.on_host(case, call(data.block(case, data.base(folder, case, copied=False), number)))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_best_rows_are_the_oracles(folder: Path, metric: str) -> None:
    rows, given, answer = asked(folder, case_of(f"topk {metric}"))
    assert rows is not None
    values, ids = oracle.answers(metric, given, np.asarray(rows), K)
    np.testing.assert_array_equal(np.stack(answer.ids), ids)
    np.testing.assert_allclose(np.stack(answer.values), values, rtol=1e-12, atol=1e-12)


def test_the_rows_that_reach_a_threshold_are_the_oracles(folder: Path) -> None:
    case = case_of("within cosine")
    rows, given, answer = asked(folder, case)
    assert rows is not None
    expected = oracle.reaching("cosine", given, np.asarray(rows), threshold(case))
    assert [list(ids) for ids in answer.ids] == [list(ids) for ids in expected]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("way", WAYS)
def test_what_numpy_computes_is_accepted(folder: Path, way: str, dtype: str) -> None:
    case = case_of(way, dtype)
    _, _, answer = asked(folder, case)
    found = verdict(case, answer, computed(folder, case), exact=True)
    assert found.refused is None
    assert found.error is not None


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_the_result_of_other_data_is_refused(folder: Path, way: str, exact: bool) -> None:
    case = case_of(way)
    _, _, answer = asked(folder, case)
    assert verdict(case, answer, computed(folder, case, number=1), exact=exact).refused is not None


@pytest.mark.parametrize("way", ["topk cosine", "topk euclidean"])
def test_one_id_that_is_wrong_is_refused(folder: Path, way: str) -> None:
    case = case_of(way)
    _, _, answer = asked(folder, case)
    found = computed(folder, case)
    found["ids"][3, -1] = (found["ids"][3] + 1).max() % ROWS
    judged = verdict(case, answer, found, exact=True)
    assert judged.refused == f"the ids of 1 of {QUERIES} queries are not those of float64"


def test_equal_rows_in_another_order_are_a_peers_right_and_no_backends(folder: Path) -> None:
    case = case_of("topk cosine")
    rows, _, _ = asked(folder, case)
    assert rows is not None
    given = np.repeat(np.asarray(rows[7:8]), QUERIES, axis=0)  # which many rows are copies of
    answer = truth(case, rows, given, np.arange(QUERIES))
    ids = np.stack(answer.ids)[:, ::-1]
    found = {"ids": ids, "values": np.stack(answer.values)[:, ::-1]}
    assert verdict(case, answer, found, exact=False).refused is None
    assert verdict(case, answer, found, exact=True).refused is not None


@pytest.mark.parametrize("change", ["nan", "short", "twice"])
def test_a_result_of_no_use_is_refused(folder: Path, change: str) -> None:
    case = case_of("topk cosine")
    _, _, answer = asked(folder, case)
    found = computed(folder, case)
    if change == "nan":
        found["values"][0, 0] = np.nan
    elif change == "short":
        found = {name: part[:, :-1] for name, part in found.items()}
    else:
        found["ids"][0, 1] = found["ids"][0, 0]
    for exact in (True, False):
        if change != "nan" or exact:  # a peer's values are not what it is judged by
            assert verdict(case, answer, found, exact=exact).refused is not None


def test_recall_is_the_share_of_the_true_rows(folder: Path) -> None:
    _, _, answer = asked(folder, case_of("topk cosine"))
    ids = np.stack(answer.ids)
    assert recall(answer, ids) == 1.0
    ids[:, 0] = -1
    assert recall(answer, ids) == pytest.approx(1 - 1 / K)


def test_no_block_is_another_and_each_is_the_same_again(folder: Path) -> None:
    case = case_of("topk cosine")
    rows = data.base(folder, case, copied=False)
    one, other = data.block(case, rows, 0), data.block(case, rows, 1)
    assert not np.any(one == other)
    np.testing.assert_array_equal(one, data.block(case, rows, 0))


def test_texts_of_another_number_are_others_of_as_many_words() -> None:
    one, other = data.texts(20, 0), data.texts(20, 1)
    assert one != other
    assert [sorted(text.split()) for text in one] == [sorted(text.split()) for text in other]


@pytest.mark.parametrize("sizes", SIZES)
def test_every_size_has_every_operation_once_a_shape(sizes: str) -> None:
    found = cases(sizes)  # type: ignore[arg-type]  # one of them
    assert {case.operation for case in found} == set(OPERATIONS) - {"quantized"}
    assert len({case.id for case in found}) == len(found)
    assert all(case.flops > 0 and case.bytes > 0 for case in found)


def test_an_operation_that_nobody_measures_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="no operation 'sort' is measured"):
        cases("small", ["sort"])


def test_rows_that_are_checked_are_all_of_a_small_result_and_others_each_time_of_a_large_one() -> None:
    small = case_of("topk cosine")
    np.testing.assert_array_equal(data.places(small, 1), np.arange(QUERIES))
    (large,) = (case for case in cases("large") if case.shape.get("queries") == 10_000)
    one, other = data.places(large, 1), data.places(large, 2)
    assert 8 <= len(one) < 1000
    assert not np.array_equal(one, other)


def test_codes_lose_rows_that_ranking_again_finds(tmp_path: Path) -> None:
    case = Case("q", "quantized", "cosine", "float32", {"queries": 20, "rows": 2000, "dim": 32, "k": K}, 0.0, 0.0)
    data.write_rows(tmp_path, 32, 2000, clustered=True)
    rows = data.base(tmp_path, case)
    given = data.block(case, data.base(tmp_path, case, copied=False), 0)
    answer = truth(case, rows, given, np.arange(20))
    contender = BackendContender("numpy")
    shares = {
        how: recall(answer, contender.on_host(case, contender.prepared(case, rows, how)(given))["ids"])
        for how in ("exact", "binary", "binary, rescore 16")
    }
    assert shares["exact"] == 1.0
    assert shares["binary"] < shares["binary, rescore 16"]
