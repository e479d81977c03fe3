"""What `embed` takes and gives: shapes, statistics, `out`, progress, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.embedding.tiny_models import LONGEST, WIDTH, Tiny
from vjaccel.embedding import Progress


def ones(texts: list[str]) -> np.ndarray:
    return np.ones((len(texts), 4))


@pytest.fixture(scope="module")
def embedder(tiny: Callable[[str], Tiny]) -> vj.Embedder:
    return vj.Embedder(f"local:{tiny('mean').folder}", device="cpu", batch_tokens=48)


def test_no_texts_are_no_rows_of_the_models_width(embedder: vj.Embedder) -> None:
    result = embedder.embed([])
    assert (result.embeddings.shape, result.embeddings.dtype) == ((0, WIDTH), np.float32)
    assert (result.ok.shape, result.ok.dtype, result.errors, len(result)) == ((0,), np.bool_, (), 0)
    statistics = result.statistics
    assert (statistics.texts, statistics.tokens, statistics.batches, statistics.padding_share) == (0, 0, 0, None)
    assert statistics.texts_per_second is None
    assert statistics.tokens_per_second is None
    assert statistics.peak_memory_bytes > 1_000_000


def test_no_texts_for_a_function_that_was_never_called_are_no_columns_either() -> None:
    assert vj.Embedder(ones).embed([]).embeddings.shape == (0, 0)


@pytest.mark.parametrize("make", [list, tuple, iter, np.array, lambda texts: dict.fromkeys(texts)])
def test_any_iterable_of_texts_will_do(embedder: vj.Embedder, make: Callable[[list[str]], object]) -> None:
    texts = ["one", "two", "three"]
    found = embedder.embed(make(texts))  # type: ignore[arg-type]  # a dict and an array are iterables of str
    np.testing.assert_array_equal(found.embeddings, embedder.embed(texts).embeddings)


@pytest.mark.parametrize(
    ("texts", "error"),
    [("one text", vj.InvalidInput), (b"bytes", vj.InvalidInput), (5, vj.InvalidType), (None, vj.InvalidType)],
)
@pytest.mark.parametrize("call", ["embed", "stream", "count_tokens"])
def test_one_text_or_none_instead_of_many_is_refused(
    embedder: vj.Embedder, call: str, texts: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match="texts is"):
        getattr(embedder, call)(texts)


def test_tokens_are_counted_as_the_model_sees_them(tiny: Callable[[str], Tiny], embedder: vj.Embedder) -> None:
    texts = ["a b", "", "three is more", "a" * 100]
    tokenizer = tiny("mean").model.tokenizer
    counts = [len(ids) for ids in tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]]
    found = embedder.count_tokens(texts)
    assert found is not None
    assert (found.dtype, found.tolist()) == (np.int64, counts)
    statistics = embedder.embed(texts).statistics
    assert statistics.tokens == sum(counts)
    assert statistics.tokens_per_second == pytest.approx(sum(counts) / statistics.seconds)
    assert statistics.texts_per_second == pytest.approx(4 / statistics.seconds)
    assert embedder.count_tokens(["a b"], prompt="ab ").tolist() == [6]


def test_tokens_of_what_is_no_text_are_refused(embedder: vj.Embedder) -> None:
    with pytest.raises(vj.InvalidType, match="number 1 is NoneType"):
        embedder.count_tokens(["a", None])  # type: ignore[list-item]  # the point


def test_long_texts_are_cut_and_what_is_lost_is_counted(tiny: Callable[[str], Tiny], embedder: vj.Embedder) -> None:
    texts = ["a" * 15, "b" * 22, "c" * 23, "a " * 1000]
    result = embedder.embed(texts)
    room = LONGEST - 2  # [CLS] and [SEP]
    assert (result.statistics.truncated, result.statistics.tokens_lost) == (2, 23 - room + 1000 - room)
    np.testing.assert_allclose(result.embeddings, tiny("mean").model.encode(texts), atol=1e-5)


def test_the_padding_share_is_what_the_batches_held(embedder: vj.Embedder) -> None:
    # 5 + 4 + 3 tokens, [CLS] and [SEP] included, in one batch of three times five.
    statistics = embedder.embed(["abc", "ab", "a"]).statistics
    assert (statistics.batches, statistics.tokens, statistics.padding_share) == (1, 12, pytest.approx(1 - 12 / 15))


def test_failed_texts_are_not_among_the_tokens_nor_the_padding(tiny: Callable[[str], Tiny]) -> None:
    with vj.Embedder(f"local:{tiny('mean').folder}", device="cpu", batch_tokens=1000) as embedder:
        poisoned = embedder._provider.embed

        def failing(items: list[np.ndarray], prompt: str) -> object:
            if any(item.shape[1] == 5 for item in items):
                raise ValueError("bad")
            return poisoned(items, prompt)

        embedder._provider.embed = failing  # type: ignore[method-assign]  # a real model does not fail on demand
        statistics = embedder.embed(["abcd", "abc", "dcba"], on_error="collect").statistics
    assert (statistics.embedded, statistics.failed, statistics.tokens, statistics.padding_share) == (2, 1, 12, 0)
    assert statistics.batches > 2


def test_what_a_function_does_not_tell_is_none() -> None:
    statistics = vj.Embedder(ones).embed(["a", "b"]).statistics
    assert (statistics.tokens, statistics.truncated, statistics.tokens_lost, statistics.padding_share) == (None,) * 4
    assert statistics.tokens_per_second is None
    assert vj.Embedder(ones).count_tokens(["a"]) is None


def test_a_static_model_counts_nothing_it_does_not_know(tiny: Callable[[str], Tiny]) -> None:
    with vj.Embedder(f"local:{tiny('static').folder}", device="cpu") as embedder:
        assert embedder.embed(["a", "b"]).statistics.tokens is None
        assert embedder.count_tokens(["a"]) is None


def test_out_is_written_and_given_back(embedder: vj.Embedder) -> None:
    texts = ["one", None, "three"]
    out = np.full((3, WIDTH), 7, np.float32)
    result = embedder.embed(texts, out=out, on_error="collect")  # type: ignore[arg-type]  # one is no text
    assert result.embeddings is out
    np.testing.assert_array_equal(out[[0, 2]], embedder.embed(["one", "three"]).embeddings)
    assert np.isnan(out[1]).all()


def test_out_may_be_a_memmap(embedder: vj.Embedder, tmp_path: Path) -> None:
    texts = ["one", "two"]
    out = np.memmap(tmp_path / "vectors", np.float32, "w+", shape=(2, WIDTH))
    embedder.embed(texts, out=out)
    out.flush()
    on_disk = np.fromfile(tmp_path / "vectors", np.float32).reshape(2, WIDTH)
    np.testing.assert_array_equal(on_disk, embedder.embed(texts).embeddings)


def test_out_may_be_empty(embedder: vj.Embedder) -> None:
    assert embedder.embed([], out=np.empty((0, WIDTH), np.float32)).embeddings.shape == (0, WIDTH)


def _read_only() -> np.ndarray:
    made = np.zeros((2, WIDTH), np.float32)
    made.flags.writeable = False
    return made


@pytest.mark.parametrize(
    "out",
    [
        pytest.param(np.zeros((2, WIDTH)), id="float64"),
        pytest.param(np.zeros((2, WIDTH + 1), np.float32), id="too wide"),
        pytest.param(np.zeros((3, WIDTH), np.float32), id="a row too many"),
        pytest.param(np.zeros(2, np.float32), id="no matrix"),
        pytest.param(np.array(0, np.float32), id="no dimensions"),
        pytest.param(_read_only(), id="read-only"),
    ],
)
def test_out_that_does_not_fit_is_refused_before_the_run(embedder: vj.Embedder, out: np.ndarray) -> None:
    with pytest.raises(vj.InvalidInput, match=rf"float32 array \(2, {WIDTH}\)"):
        embedder.embed(["a", "b"], out=out)


def test_out_says_how_wide_a_functions_vectors_are_to_be() -> None:
    embedder = vj.Embedder(ones)
    result = embedder.embed(["a"], out=np.zeros((1, 5), np.float32), on_error="collect")
    assert result.errors == (vj.ItemError(0, "DIMENSION_MISMATCH", "its vector has width 4, not 5"),)
    assert embedder.embed(["a"], out=np.zeros((1, 4), np.float32)).ok.all()
    assert embedder.dim == 4


def test_out_that_is_no_array_is_refused(embedder: vj.Embedder) -> None:
    with pytest.raises(vj.InvalidType, match="not list"):
        embedder.embed(["a"], out=[[0.0] * WIDTH])  # type: ignore[arg-type]  # the point


def test_out_and_a_backend_are_refused_together(embedder: vj.Embedder) -> None:
    with pytest.raises(vj.InvalidInput, match="backend="):
        embedder.embed(["a"], out=np.zeros((1, WIDTH), np.float32), backend="numpy")


def test_progress_is_told_after_each_batch_up_to_the_last_text(embedder: vj.Embedder) -> None:
    told: list[Progress] = []
    result = embedder.embed(
        ["a", None, *(f"some text {i}" for i in range(20))], progress=told.append, on_error="collect"
    )  # type: ignore[list-item]  # one is no text
    assert len(told) == result.statistics.batches + 1
    done = [at.done for at in told]
    assert done[0] == 1
    assert done == sorted(set(done))
    assert told[-1].done == told[-1].total == 22
    assert told[-1].tokens == result.statistics.tokens
    assert 0 <= told[0].seconds <= told[-1].seconds <= result.statistics.seconds


def test_an_error_in_the_progress_callback_ends_the_run(embedder: vj.Embedder) -> None:
    def broken(progress: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        embedder.embed(["a"] * 50, progress=broken)
    assert embedder.embed(["a"]).ok.all()


@pytest.mark.parametrize("name", ["workers", "batch_tokens", "dimensions"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3"])
def test_numbers_that_are_none_are_refused(name: str, value: object) -> None:
    with pytest.raises(vj.InvalidInput, match=f"{name} must be a whole number"):
        vj.Embedder(ones, **{name: value})  # type: ignore[arg-type]  # the point


@pytest.mark.parametrize("call", ["embed", "stream"])
def test_an_unknown_way_with_errors_is_refused_before_the_run(embedder: vj.Embedder, call: str) -> None:
    with pytest.raises(vj.InvalidInput, match="'ignore'"):
        getattr(embedder, call)(["a"], on_error="ignore")


def test_a_prompt_that_is_no_text_is_refused(embedder: vj.Embedder) -> None:
    with pytest.raises(vj.InvalidType, match="prompt is a str"):
        embedder.embed(["a"], prompt=3)  # type: ignore[arg-type]  # the point
    with pytest.raises(vj.InvalidType, match="prompt is a str"):
        vj.Embedder(ones, prompt=["query"])  # type: ignore[arg-type]  # the point


@pytest.mark.parametrize("call", ["embed", "stream", "count_tokens", "embed_query", "embed_document"])
def test_a_closed_embedder_says_so(tiny: Callable[[str], Tiny], call: str) -> None:
    with vj.Embedder(f"local:{tiny('prompts').folder}", device="cpu") as embedder:
        pass
    embedder.close()
    with pytest.raises(vj.InvalidInput, match="closed"):
        getattr(embedder, call)(["a"])
    assert embedder.dim == embedder.identity.dimensions == WIDTH
