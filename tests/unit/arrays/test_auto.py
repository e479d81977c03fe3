"""`auto`: host arrays stay on the CPU, but for work that is large enough for a GPU; and `explain` says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays import auto
from vjaccel.arrays.auto import Work, against_a_gpu, work_of

LARGE = ((20_000, 384), (1_000_000, 384))
"""Shapes of queries and a corpus that are worth a GPU."""


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    """An array of any size, of no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


@pytest.fixture
def gpu(nvidia_smi: Callable[..., None], calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A machine with a GPU that the loop-back backends alone see; what they are asked for is written here."""
    if any("gpu" in device for row in vj.backends() if row.name in ("cupy", "jax") for device in row.devices or ()):
        pytest.skip("a real GPU comes before the loop-back one")
    nvidia_smi("A card, 81559 MiB")
    return calls


# The plan


def test_the_work_of_a_search_is_two_operations_for_each_number_of_each_pair() -> None:
    assert work_of("topk", zeros(10, 4), zeros(100, 4)) == Work(8000.0, 4.0 * 4 * 110)


def test_all_pairs_have_a_result_that_comes_back() -> None:
    assert work_of("distance", zeros(10, 4), zeros(100, 4)) == Work(8000.0, 4.0 * 4 * 110 + 4000.0)


def test_one_vector_is_a_query() -> None:
    assert work_of("topk", zeros(4), zeros(100, 4)) == Work(800.0, 4.0 * 4 * 101)


@pytest.mark.parametrize("operands", [(), ([[1.0]], zeros(2, 1)), (zeros(2, 2, 2),), (None, zeros(2, 2))])
def test_of_anything_but_arrays_the_size_is_not_asked(operands: tuple[Any, ...]) -> None:
    assert work_of("topk", *operands) is None
    assert "not known" in str(against_a_gpu(None))


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (Work(9e12, 1e9), "too few: a GPU is taken from 1e+13"),
        (Work(1e13, 1e11), "for each byte moved are too few"),
        (Work(1e14, 5e9), "may not fit"),
        (Work(1e13, 1e9, wide=True), "float64"),
    ],
)
def test_what_speaks_against_a_gpu_is_said(work: Work, reason: str) -> None:
    assert reason in str(against_a_gpu(work))


def test_a_gpu_is_worth_it_for_many_queries_of_a_large_corpus() -> None:
    assert against_a_gpu(work_of("topk", *(zeros(*shape) for shape in LARGE))) is None


def test_normalizing_is_never_worth_the_way_to_a_gpu() -> None:
    assert against_a_gpu(work_of("normalize", zeros(10**9, 10**4))) is not None


@pytest.mark.parametrize("queries", [1, 10, 100])
def test_few_queries_stay_where_the_corpus_is(queries: int) -> None:
    assert "each byte" in str(against_a_gpu(work_of("topk", zeros(queries, 384), zeros(10**11, 384))))


# The call


@pytest.fixture
def small_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size of work that a test can afford is worth a GPU."""
    monkeypatch.setattr(auto, "GPU_FROM_FLOP", 1e4)
    monkeypatch.setattr(auto, "GPU_FLOP_PER_BYTE", 1)


QUERIES, CORPUS = (np.random.default_rng(i).random((50, 8)).astype(np.float32) for i in range(2))


@pytest.mark.usefixtures("small_enough")
@pytest.mark.parametrize("arguments", [{}, {"backend": "auto"}])
def test_work_that_is_large_enough_goes_to_a_gpu_and_comes_back_to_the_host(
    gpu: list[tuple[str, str]], arguments: dict[str, str]
) -> None:
    found = vj.topk(QUERIES, CORPUS, 3, **arguments)
    assert gpu == [("topk", "loopback:gpu:0")]
    assert type(found.indices) is np.ndarray
    np.testing.assert_array_equal(found.indices, vj.topk(QUERIES, CORPUS, 3, backend="numpy").indices)


@pytest.mark.usefixtures("small_enough")
def test_all_pairs_go_there_too(gpu: list[tuple[str, str]]) -> None:
    vj.similarity(QUERIES, CORPUS)
    assert gpu == [("scores", "loopback:gpu:0")]


def test_less_work_stays_on_the_cpu(gpu: list[tuple[str, str]]) -> None:
    vj.topk(QUERIES, CORPUS, 3)
    assert gpu == []


@pytest.mark.usefixtures("small_enough")
@pytest.mark.parametrize("chosen", ["numpy", "auto, hidden"])
def test_a_gpu_is_not_taken_from_under_what_somebody_said(
    gpu: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    if chosen == "numpy":
        monkeypatch.setenv("VJACCEL_BACKEND", chosen)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    vj.topk(QUERIES, CORPUS, 3)
    assert gpu == []


@pytest.mark.usefixtures("small_enough")
def test_set_backend_auto_comes_before_the_environment(
    gpu: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VJACCEL_BACKEND", "other:cpu")
    vj.set_backend("auto")
    vj.topk(QUERIES, CORPUS, 3)
    assert gpu == [("topk", "loopback:gpu:0")]


# What is said of it


def test_host_arrays_are_explained_by_the_size_of_the_work() -> None:
    found = vj.explain("topk", zeros(1000, 384), zeros(200_000, 384))
    assert (found.operation, found.backend, found.device) == ("topk", "numpy", "cpu")
    assert "too few: a GPU is taken from" in found.reason
    assert found == vj.explain("topk", (1000, 384), (200_000, 384))


def test_a_gpu_that_would_be_taken_is_explained_and_nothing_is_computed(gpu: list[tuple[str, str]]) -> None:
    found = vj.explain("topk", *LARGE)
    assert (found.backend, found.device) == ("loopback", "gpu:0")
    assert "large enough" in found.reason
    assert {("loopback", "gpu:1"), ("numpy", "cpu")} <= {(row.backend, row.device) for row in found.passed_over}
    assert gpu == []


def test_a_gpu_that_is_not_there_is_missed_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = vj.explain("topk", *LARGE)
    assert (found.backend, "none that a backend can use is here" in found.reason) == ("numpy", True)


@pytest.mark.usefixtures("calls")
def test_everybody_who_decides_is_named(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VJACCEL_BACKEND", "other:cpu")
    said = [vj.explain("normalize", (2, 2))]
    vj.set_backend("other:gpu:1")
    said.append(vj.explain("normalize", (2, 2)))
    there = on("loopback:gpu:1", [[1.0, 2.0]])
    said.append(vj.explain("normalize", there))
    said.append(vj.explain("topk", there, vj.Corpus(there)))
    with vj.use_backend("loopback:cpu"):
        said.append(vj.explain("normalize", there))
        said.append(vj.explain("normalize", there, backend="numpy"))
        said.append(vj.explain("normalize", (2, 2), backend="auto"))
    assert [f"{x.backend}:{x.device}, {x.reason}" for x in said[:-1]] == [
        "other:cpu, VJACCEL_BACKEND=other:cpu names it for host arrays",
        "other:gpu:1, set_backend names it for host arrays",
        "loopback:gpu:1, the arrays are there",
        "loopback:gpu:1, the corpus is there",
        "loopback:cpu, the use_backend block that the call is in names it",
        "numpy:cpu, the call names it",
    ]
    assert said[-1].backend == "numpy"


def test_every_registered_backend_is_used_or_passed_over() -> None:
    found = vj.explain()
    assert {found.backend, *(row.backend for row in found.passed_over)} == {row.name for row in vj.backends()}


def test_as_text_it_says_all_of_it() -> None:
    found = vj.explain("distance", (5, 4), (6, 4))
    text = str(found)
    for part in (found.operation, f"{found.backend}:{found.device}", found.reason, found.float64):
        assert part in text
    assert all(row.reason in text for row in found.passed_over)


def test_what_becomes_of_float64_is_said() -> None:
    pytest.importorskip("jax")
    assert "stays" in vj.explain("topk", backend="numpy").float64
    assert "float32" in vj.explain("topk", backend="jax:cpu").float64


def test_a_cpu_build_beside_a_gpu_is_passed_over_with_the_line_that_helps(nvidia_smi: Callable[..., None]) -> None:
    pytest.importorskip("torch")
    nvidia_smi("A card, 81559 MiB")
    row = next(row for row in vj.explain().passed_over if row.backend == "torch")
    if row.device != "cpu":
        pytest.skip("torch sees a GPU")
    assert "pip install" in row.reason


def test_an_operation_that_is_misspelled_is_an_error_with_the_near_one() -> None:
    with pytest.raises(vj.InvalidInput, match="did you mean 'topk'"):
        vj.explain("topkk")


def test_arrays_in_two_places_are_refused_as_the_call_refuses_them(on: Any) -> None:
    with pytest.raises(vj.InvalidType, match="two places"):
        vj.explain("topk", on("loopback:gpu:0", [[1.0]]), on("other:gpu:0", [[1.0]]))
