"""Vectors that a function made with torch stay torch's, in the texts' order; nothing but flags comes to the host."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import vjaccel as vj
from vjaccel_torch import TorchBackend

DIM = 4


def vectors(texts: list[str]) -> torch.Tensor:
    """A text is a number; its vector begins with it."""
    return torch.tensor([[float(text), 1.0, -float(text), 2.0] for text in texts])


def wanted(texts: list[str]) -> np.ndarray:
    return vectors(texts).numpy()


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """What comes to the host: dtype and shape of each, by the backend's door or by torch's own."""
    found: list[tuple[str, tuple[int, ...]]] = []
    to_numpy, numpy = TorchBackend.to_numpy, torch.Tensor.numpy

    def through_backend(self: TorchBackend, x: torch.Tensor) -> np.ndarray:
        found.append((str(x.dtype), tuple(x.shape)))
        return to_numpy(self, x)

    def by_itself(self: torch.Tensor, *args: object, **options: object) -> np.ndarray:
        found.append((str(self.dtype), tuple(self.shape)))
        return numpy(self, *args, **options)

    monkeypatch.setattr(TorchBackend, "to_numpy", through_backend)
    monkeypatch.setattr(torch.Tensor, "numpy", by_itself)
    monkeypatch.setattr(torch.Tensor, "__array__", by_itself)
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_vectors_stay_tensors_in_the_texts_order(workers: int) -> None:
    texts = [str(number) for number in np.random.default_rng(0).permutation(5000)]
    result = vj.Embedder(vectors, workers=workers, batch_tokens=400).embed(texts, backend="torch:cpu")
    assert isinstance(result.embeddings, torch.Tensor)
    assert (result.embeddings.dtype, result.embeddings.device.type) == (torch.float32, "cpu")
    assert result.ok.all()
    assert result.statistics.batches > 10
    np.testing.assert_array_equal(result.embeddings.numpy(), wanted(texts))


@pytest.mark.parametrize("workers", [1, 3])
def test_failed_texts_are_rows_of_nan_between_the_others(workers: int) -> None:
    texts: list[object] = [str(number) for number in range(200)]
    texts[0], texts[77], texts[199] = None, "no number", 5
    result = vj.Embedder(vectors, workers=workers, batch_tokens=60).embed(
        texts,  # type: ignore[arg-type]  # some are no text
        backend="torch:cpu",
        on_error="collect",
    )
    bad = [0, 77, 199]
    assert [(error.index, error.code) for error in result.errors] == [
        (0, "INVALID_TEXT"),
        (77, "EMBEDDING_GENERATION_FAILED"),
        (199, "INVALID_TEXT"),
    ]
    assert np.flatnonzero(~result.ok).tolist() == bad
    assert torch.isnan(result.embeddings[bad]).all()
    others = [str(text) for i, text in enumerate(texts) if i not in bad]
    np.testing.assert_array_equal(result.embeddings[torch.tensor(result.ok)].numpy(), wanted(others))


@pytest.mark.parametrize(
    ("dtype", "value"), [(torch.float32, torch.nan), (torch.float16, torch.inf), (torch.float64, 1e300)]
)
def test_what_is_no_float32_number_is_that_texts_error_on_a_device_too(dtype: torch.dtype, value: float) -> None:
    def some(texts: list[str]) -> torch.Tensor:
        return torch.tensor([[value if text == "bad" else 1.0, 2.0] for text in texts], dtype=dtype)

    result = vj.Embedder(some).embed(["a", "bad", "c"], backend="torch:cpu", on_error="collect")
    assert [(error.index, error.code) for error in result.errors] == [(1, "INVALID_EMBEDDING")]
    np.testing.assert_array_equal(result.embeddings.numpy(), [[1, 2], [np.nan, np.nan], [1, 2]])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda texts: vectors(texts)[:-1], id="a row too few"),
        pytest.param(lambda texts: vectors(texts).to(torch.complex64), id="complex"),
        pytest.param(lambda texts: vectors(texts)[:, :0], id="no columns"),
    ],
)
def test_nothing_that_could_be_used_is_a_tensor_of_nan(answer: Callable[..., object]) -> None:
    result = vj.Embedder(answer).embed(["1", "2"], backend="torch:cpu", on_error="collect")
    assert isinstance(result.embeddings, torch.Tensor)
    assert result.embeddings.shape == (2, 0)
    assert [error.index for error in result.errors] == [0, 1]


def test_a_width_that_changes_is_an_error_on_a_device_too() -> None:
    def ragged(texts: list[str]) -> torch.Tensor:
        return torch.ones(len(texts), 3 if texts == ["odd"] else 2)

    result = vj.Embedder(ragged, batch_tokens=4).embed(["aaaa", "odd"], backend="torch:cpu", on_error="collect")
    assert result.errors == (vj.ItemError(1, "DIMENSION_MISMATCH", "its vector has width 3, not 2"),)
    np.testing.assert_array_equal(result.embeddings.numpy(), [[1, 1], [np.nan, np.nan]])


def test_no_texts_are_an_empty_tensor() -> None:
    embedder = vj.Embedder(vectors)
    embedder.embed(["1"])
    empty = embedder.embed([], backend="torch:cpu").embeddings
    assert isinstance(empty, torch.Tensor)
    assert empty.shape == (0, DIM)


def test_an_order_is_kept_over_several_chunks() -> None:
    texts = [str(number) for number in range(9000)]
    found = vj.Embedder(vectors).embed(texts, backend="torch:cpu").embeddings
    assert torch.equal(found[:, 0], torch.arange(9000, dtype=torch.float32))


def test_from_texts_to_topk_only_flags_come_to_the_host(copied: list[tuple[str, tuple[int, ...]]]) -> None:
    texts: list[object] = [str(number) for number in range(300)]
    texts[7] = "no number"
    with vj.Embedder(vectors, batch_tokens=100) as embedder:
        corpus = embedder.embed(texts, backend="torch:cpu", on_error="collect").embeddings  # type: ignore[arg-type]
        query = embedder.embed(["250"], backend="torch:cpu").embeddings
    assert copied
    assert {dtype for dtype, _ in copied} == {"torch.bool"}
    assert {len(shape) for _, shape in copied} == {1}
    copied.clear()
    best = vj.topk(query, corpus, k=3, metric="euclidean")
    assert isinstance(best.indices, torch.Tensor)
    assert best.indices.tolist() == [[250, 249, 251]]
    assert [shape for dtype, shape in copied if np.prod(shape) >= len(corpus)] == []


def test_the_fixture_sees_what_a_run_without_a_backend_copies(copied: list[tuple[str, tuple[int, ...]]]) -> None:
    vj.Embedder(vectors).embed(["1", "2"])
    assert ("torch.float32", (2, DIM)) in copied


def test_a_backend_object_will_do_and_host_vectors_are_moved_to_it() -> None:
    backend = vj.get_backend("torch:cpu")
    found = vj.Embedder(wanted).embed(["3", "4"], backend=backend).embeddings
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), wanted(["3", "4"]))


def test_tensors_come_to_the_host_for_the_numpy_backend() -> None:
    found = vj.Embedder(vectors).embed(["3", "4"], backend="numpy").embeddings
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, wanted(["3", "4"]))


def test_an_unknown_backend_is_refused_before_the_run() -> None:
    def called(texts: list[str]) -> torch.Tensor:
        raise AssertionError(texts)

    with pytest.raises(vj.UnknownBackend, match="did you mean 'torch'"):
        vj.Embedder(called).embed(["1"], backend="troch:cpu")
