"""The drop-in names give what ``sentence_transformers.util``'s own give for the same input."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.compat import sentence_transformers as ours

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("sentence_transformers.util")

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")  # torch's, of what that library does with sparse tensors

ALL_PAIRS = ["cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"]
ROW_BY_ROW = ["pairwise_cos_sim", "pairwise_dot_score", "pairwise_euclidean_sim", "pairwise_manhattan_sim"]
SEARCHES = ["semantic_search", "paraphrase_mining_embeddings"]

FORMS: dict[str, Callable[[Any], Any]] = {
    "tensor": lambda x: x,
    "numpy": lambda x: x.numpy(),
    "read-only": lambda x: np.broadcast_to(x.numpy(), x.shape),
    "list": lambda x: x.tolist(),
    "list of tensors": list,
    "list of arrays": lambda x: list(x.numpy()),
    "float64": lambda x: x.double(),
    "float16": lambda x: x.half(),
    "bfloat16": lambda x: x.bfloat16(),
    "with a gradient": lambda x: x.clone().requires_grad_(),
    "sparse": lambda x: x.to_sparse(),
    "transposed": lambda x: x.T.contiguous().T,
}
"""The ways in which embeddings are given."""


def embeddings(rows: int, dim: int = 24, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32))


def clustered(rows: int = 300, spread: float = 0.3) -> Any:
    centers = np.random.default_rng(1).integers(0, 9, rows)
    return embeddings(9)[torch.from_numpy(centers)] + spread * embeddings(rows, seed=2)


@pytest.mark.parametrize("name", ours.__all__)
def test_a_signature_is_that_librarys(name: str) -> None:
    mine, other = (inspect.signature(getattr(module, name)) for module in (ours, theirs))
    assert list(mine.parameters) == list(other.parameters)
    for parameter in mine.parameters.values():
        wanted = other.parameters[parameter.name]
        if callable(wanted.default) and wanted.default is not inspect.Parameter.empty:
            assert parameter.default.__name__ == wanted.default.__name__
        else:
            assert (parameter.default, parameter.kind) == (wanted.default, wanted.kind)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ALL_PAIRS)
def test_all_pairs_are_that_librarys(name: str, form: str) -> None:
    a, b = FORMS[form](embeddings(7)), FORMS[form](embeddings(5, seed=1))
    found, wanted = (getattr(module, name)(a, b) for module in (ours, theirs))
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found.detach(), wanted.detach(), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_row_by_row_is_that_librarys(name: str, form: str) -> None:
    a, b = FORMS[form](embeddings(7)), FORMS[form](embeddings(7, seed=1))
    found, wanted = (getattr(module, name)(a, b) for module in (ours, theirs))
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found.detach(), wanted.detach(), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", [*ALL_PAIRS, *ROW_BY_ROW])
def test_a_single_vector_gives_that_librarys_shape(name: str) -> None:
    a, b = embeddings(2)
    found, wanted = (getattr(module, name)(a, b) for module in (ours, theirs))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_row_by_row_broadcasts_as_that_library_does(name: str) -> None:
    a, b = embeddings(12).reshape(3, 4, 24), embeddings(4, seed=1)
    found, wanted = (getattr(module, name)(a, b) for module in (ours, theirs))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*ALL_PAIRS, *ROW_BY_ROW])
def test_gradients_are_that_librarys(name: str) -> None:
    gradients = []
    for module in (ours, theirs):
        a, b = (embeddings(6, seed=seed).requires_grad_() for seed in range(2))
        getattr(module, name)(a, b).square().sum().backward()
        gradients.append((a.grad, b.grad))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "form", ["tensor", "float64", "float16", "bfloat16", "with a gradient", "sparse", "transposed"]
)
def test_normalized_embeddings_are_that_librarys(form: str) -> None:
    x = FORMS[form](embeddings(7))
    found, wanted = ours.normalize_embeddings(x), theirs.normalize_embeddings(x)
    assert (found.dtype, found.is_sparse) == (wanted.dtype, wanted.is_sparse)
    close = {"rtol": 1e-2, "atol": 1e-2} if x.element_size() < 4 else {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(found.to_dense().detach(), wanted.to_dense().detach(), **close)


@pytest.mark.parametrize("shape", [(24,), (2, 3, 24)])
def test_embeddings_of_any_shape_are_normalized_along_the_last_axis(shape: tuple[int, ...]) -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    torch.testing.assert_close(ours.normalize_embeddings(x), theirs.normalize_embeddings(x))


def test_nothing_that_is_given_is_changed_or_shared() -> None:
    x = embeddings(5)
    before = x.clone()
    ours.normalize_embeddings(x).zero_()
    ours.cos_sim(x, x).zero_()
    assert torch.equal(x, before)


# Searching


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("score", ALL_PAIRS)
def test_a_search_is_that_librarys(score: str, form: str) -> None:
    queries, corpus = FORMS[form](embeddings(7, seed=1)), FORMS[form](embeddings(200))
    if form == "sparse" and score in ("euclidean_sim", "manhattan_sim"):
        queries, corpus = queries.to_dense(), corpus.to_dense()  # theirs fails on sparse ones here
    if isinstance(corpus, torch.Tensor) and corpus.element_size() < 4:
        queries, corpus = queries.float(), corpus.float()  # theirs ranks by rounded scores
    found, wanted = (
        module.semantic_search(queries, corpus, top_k=9, score_function=getattr(module, score))
        for module in (ours, theirs)
    )
    assert [[hit["corpus_id"] for hit in row] for row in found] == [[hit["corpus_id"] for hit in row] for row in wanted]
    for row, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose([h["score"] for h in row], [h["score"] for h in other], rtol=1e-5, atol=1e-5)


def test_half_precision_is_searched_by_the_values_it_holds() -> None:
    queries, corpus = embeddings(7, seed=1).bfloat16(), embeddings(200).bfloat16()
    exact = ours.semantic_search(queries.float(), corpus.float(), top_k=9)
    for given in ((queries, corpus), (queries, corpus.float()), (queries.float(), corpus)):
        assert ours.semantic_search(*given, top_k=9) == exact


def test_that_librarys_own_score_functions_are_taken_for_ours() -> None:
    queries, corpus = embeddings(3, seed=1), embeddings(50)
    mine = ours.semantic_search(queries, corpus, score_function=ours.dot_score)
    assert ours.semantic_search(queries, corpus, score_function=theirs.dot_score) == mine


@pytest.mark.parametrize("chunks", [(100, 500000), (2, 7)])
@pytest.mark.parametrize("name", SEARCHES)
def test_a_score_function_of_the_users_own_is_asked(name: str, chunks: tuple[int, int]) -> None:
    def score(a: Any, b: Any) -> Any:
        return -(a[:, None, :] - b[None, :, :]).abs().amax(dim=2)

    given = (embeddings(5, seed=1), embeddings(60)) if name == "semantic_search" else (embeddings(60),)
    query_chunk_size, corpus_chunk_size = chunks
    options: dict[str, Any] = {"query_chunk_size": query_chunk_size, "corpus_chunk_size": corpus_chunk_size, "top_k": 9}
    found, wanted = (getattr(module, name)(*given, score_function=score, **options) for module in (ours, theirs))
    assert found == wanted


@pytest.mark.parametrize("given", [([1.0, 0.0], [[1.0, 0.0]]), ([[1.0, 0.0]], []), (np.zeros((0, 2)), [[1.0, 0.0]])])
def test_a_search_of_one_or_none_is_that_librarys(given: tuple[Any, Any]) -> None:
    assert ours.semantic_search(*given) == theirs.semantic_search(*given)


def test_equal_entries_come_in_order() -> None:
    corpus = embeddings(1).repeat(50, 1)
    found = ours.semantic_search(corpus[:2], corpus, top_k=4)
    assert [[hit["corpus_id"] for hit in row] for row in found] == [[0, 1, 2, 3]] * 2


def test_a_search_is_on_the_backend_of_the_block_that_it_is_in() -> None:
    queries, corpus = embeddings(3, seed=1), embeddings(50)
    here = ours.semantic_search(queries, corpus)
    with vj.use_backend("torch:cpu"):
        there = ours.semantic_search(queries, corpus)
    assert [[h["corpus_id"] for h in row] for row in here] == [[h["corpus_id"] for h in row] for row in there]


# Mining


@pytest.mark.parametrize(
    "options", [{}, {"top_k": 3}, {"max_pairs": 40}, {"max_pairs": 0}, {"top_k": 5, "max_pairs": 70}]
)
@pytest.mark.parametrize("score", ["cos_sim", "euclidean_sim"])
def test_mining_gives_that_librarys_pairs(options: dict[str, int], score: str) -> None:
    x = embeddings(60)
    found, wanted = (
        module.paraphrase_mining_embeddings(x, score_function=getattr(module, score), **options)
        for module in (ours, theirs)
    )
    assert [pair[1:] for pair in found] == [pair[1:] for pair in wanted]
    np.testing.assert_allclose([pair[0] for pair in found], [pair[0] for pair in wanted], rtol=1e-5, atol=1e-5)


def test_mining_is_the_same_whatever_the_chunk() -> None:
    x = embeddings(60)
    assert ours.paraphrase_mining_embeddings(x, query_chunk_size=7) == ours.paraphrase_mining_embeddings(x)


def test_mining_among_more_equals_than_top_k_gives_each_pair_once_and_none_with_itself() -> None:
    found = ours.paraphrase_mining_embeddings(embeddings(1).repeat(30, 1), top_k=4)
    pairs = [(i, j) for _, i, j in found]
    assert len(set(pairs)) == len(pairs) > 0
    assert all(i < j for i, j in pairs)


def test_mining_sentences_asks_the_model_as_that_library_does(tmp_path: Path) -> None:
    from tests.unit.embedding.tiny_models import build

    model = build("mean", tmp_path / "model")
    sentences = [f"{word} {number}" for word in ("butter", "floor plan", "knob") for number in range(8)]
    found, wanted = (module.paraphrase_mining(model, sentences, max_pairs=20) for module in (ours, theirs))
    np.testing.assert_allclose([pair[0] for pair in found], [pair[0] for pair in wanted], atol=1e-5)


# Communities


@pytest.mark.parametrize("form", ["tensor", "numpy", "float64", "list"])
@pytest.mark.parametrize(
    ("threshold", "least", "batch_size"), [(0.75, 10, 1024), (0.9, 2, 64), (0.5, 3, 7), (0.99, 2, 50)]
)
def test_communities_are_that_librarys(form: str, threshold: float, least: int, batch_size: int) -> None:
    x = FORMS[form](clustered())
    found, wanted = (module.community_detection(x, threshold, least, batch_size) for module in (ours, theirs))
    assert found == wanted


@pytest.mark.parametrize("given", [[], [[1.0, 0.0]], np.zeros((0, 3), np.float32), np.eye(12, dtype=np.float32)])
def test_where_there_is_no_community_there_is_none(given: Any) -> None:
    assert ours.community_detection(given) == theirs.community_detection(given) == []


def test_two_clear_communities_are_found() -> None:
    x = np.array([[1, 0, 0], [0.95, 0.05, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0.95, 0.05], [0, 0.9, 0.1]], np.float32)
    found = ours.community_detection(x, threshold=0.9, min_community_size=2)
    assert sorted(sorted(community) for community in found) == [[0, 1, 2], [3, 4, 5]]


# What it takes


def test_importing_the_names_loads_no_framework() -> None:
    code = "import sys, vjaccel.compat.sentence_transformers; print('torch' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_vectors_of_two_widths_are_refused_in_a_sentence() -> None:
    with pytest.raises(vj.InvalidInput, match="width"):
        ours.cos_sim(embeddings(2), embeddings(2, dim=9))
