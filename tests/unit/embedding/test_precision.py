"""Vectors given out as codes, the very ones that sentence-transformers' `quantize_embeddings` makes."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sentence_transformers.util.quantization import quantize_embeddings

import vjaccel as vj
from tests.unit.embedding.tiny_models import WIDTH, Tiny
from vjaccel.embedding.precision import PRECISIONS, Precision, Quantizer

CODES = [precision for precision in PRECISIONS if precision != "float32"]
TEXTS = [f"text {chr(97 + i % 26)} {i}" for i in range(300)]
once = settings(derandomize=True, deadline=None, max_examples=60)
VECTORS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 12), st.integers(1, 20)),
    elements=st.floats(-2, 2, width=32, allow_nan=False),
)


def theirs(vectors: np.ndarray, precision: Precision, **options: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns that are all the same
        return np.asarray(quantize_embeddings(vectors, precision, **options))


@once
@given(VECTORS, st.sampled_from(CODES))
def test_codes_are_those_of_the_other_library(vectors: np.ndarray, precision: Precision) -> None:
    quantizer = Quantizer(precision)
    quantizer.fit(vectors)
    found = quantizer.codes(vectors)
    expected = theirs(vectors, precision)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape) == (quantizer.dtype, found.shape)
    assert found.shape[1] == quantizer.width(vectors.shape[1])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_ranges_widen_with_what_is_fitted_and_clip_what_is_beyond(precision: Precision) -> None:
    rng = np.random.default_rng(0)
    known, new = rng.standard_normal((50, 7), np.float32), 3 * rng.standard_normal((9, 7), np.float32)
    quantizer = Quantizer(precision)
    for part in np.split(known, [1, 20]):
        quantizer.fit(part)
    np.testing.assert_array_equal(quantizer.codes(new), theirs(new, precision, calibration_embeddings=known))
    np.testing.assert_array_equal(
        Quantizer(precision, known).codes(new), theirs(new, precision, calibration_embeddings=known)
    )


@pytest.mark.parametrize("precision", CODES)
def test_an_embedders_codes(tiny: Callable[[str], Tiny], precision: Precision) -> None:
    folder = tiny("cls").folder
    with (
        vj.Embedder(f"local:{folder}", device="cpu") as plain,
        vj.Embedder(f"local:{folder}", device="cpu", precision=precision) as coded,
    ):
        vectors = plain.embed(TEXTS).embeddings
        found = coded.embed(TEXTS)
        assert (coded.identity.precision, coded.dim) == (precision, WIDTH)
        assert coded.identity.dimensions == WIDTH
    np.testing.assert_array_equal(found.embeddings, theirs(vectors, precision))


@pytest.mark.parametrize("precision", CODES)
def test_a_streams_ranges_are_those_of_its_first_result(precision: Precision) -> None:
    vectors = np.random.default_rng(1).standard_normal((40, 6), np.float32)
    with vj.Embedder(lambda texts: vectors[[int(text) for text in texts]], precision=precision) as embedder:
        chunks = [chunk.embeddings for chunk in embedder.stream((str(i) for i in range(40)), chunk_size=16)]
    options = {} if "binary" in precision else {"calibration_embeddings": vectors[:16]}
    np.testing.assert_array_equal(np.concatenate(chunks), theirs(vectors, precision, **options))


@pytest.mark.parametrize("precision", CODES)
def test_a_text_that_failed_has_zeros_and_does_not_count_for_the_ranges(precision: Precision) -> None:
    vectors = np.array([[1, -1], [np.nan, 99], [0.5, 2], [-3, 0]], np.float32)
    with vj.Embedder(lambda texts: vectors[[int(text) for text in texts]], precision=precision) as embedder:
        found = embedder.embed(["0", "1", "2", "3"], on_error="collect")
    assert found.ok.tolist() == [True, False, True, True]
    assert not found.embeddings[1].any()
    np.testing.assert_array_equal(found.embeddings[found.ok], theirs(vectors[found.ok], precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_keeps_a_run_from_being_lost_has_the_numbers(precision: Precision) -> None:
    vectors = np.random.default_rng(1).standard_normal((8, 6), np.float32)
    kept = np.zeros_like(vectors)

    def keep(numbers: np.ndarray, some: np.ndarray) -> None:
        kept[numbers] = some

    with vj.Embedder(lambda texts: vectors[[int(text) for text in texts]], precision=precision) as embedder:
        list(embedder.stream([str(i) for i in range(8)], on_batch=keep))
    np.testing.assert_array_equal(kept, vectors)


def test_embedders_of_any_precision_share_a_cache(tmp_path: object) -> None:
    asked: list[str] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), 1, -1] for text in texts], np.float32)

    for precision in PRECISIONS:
        with vj.Embedder(embed, name="lengths", cache=f"{tmp_path}/cache", precision=precision) as embedder:
            embedder.embed(["a", "bb", "ccc"])
    assert sorted(asked) == ["a", "bb", "ccc"]


@pytest.mark.parametrize("precision", CODES)
def test_no_texts_are_no_codes(precision: Precision) -> None:
    with vj.Embedder(lambda texts: np.ones((len(texts), 2)), precision=precision) as embedder:
        assert len(embedder.embed([]).embeddings) == 0
        assert list(embedder.stream([])) == []


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_one_vector_has_no_ranges_but_those_of_a_calibration(precision: Precision) -> None:
    vector, known = np.ones((1, 2), np.float32), np.array([[0, 0], [2, 2]], np.float32)
    with vj.Embedder(lambda texts: vector, precision=precision) as embedder:
        with pytest.raises(vj.InvalidInput, match=r"1 are too few.*calibration="):
            embedder.embed(["a"])
        with pytest.raises(vj.InvalidInput, match="too few"):
            list(embedder.stream(["a"]))
    with vj.Embedder(lambda texts: vector, precision=precision, calibration=known) as embedder:
        np.testing.assert_array_equal(
            embedder.embed(["a"]).embeddings, theirs(vector, precision, calibration_embeddings=known)
        )


@pytest.mark.parametrize("option", [{"backend": "torch:cpu"}, {"out": np.zeros((1, 2), np.float32)}])
def test_codes_go_neither_to_a_backend_nor_into_an_array(option: dict[str, object]) -> None:
    with (
        vj.Embedder(lambda texts: np.ones((len(texts), 2)), precision="binary") as embedder,
        pytest.raises(vj.InvalidInput, match="are for float32 vectors, and precision is 'binary'"),
    ):
        embedder.embed(["a"], **option)  # type: ignore[arg-type]  # one option of two kinds


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "int4"}, "'int4' is none of float32, int8, uint8, binary, ubinary"),
        ({"precision": "binary", "calibration": np.ones((2, 2))}, "is for int8 and uint8"),
        ({"calibration": np.ones((2, 2))}, "is for int8 and uint8, and precision is 'float32'"),
        ({"precision": "int8", "calibration": np.ones((1, 2))}, r"at least two vectors.* shape \(1, 2\)"),
        ({"precision": "int8", "calibration": np.ones(4)}, r"at least two vectors"),
        ({"precision": "int8", "calibration": np.full((2, 2), np.nan)}, "without NaN"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(options: dict[str, object], said: str) -> None:
    with pytest.raises(vj.InvalidInput, match=said):
        vj.Embedder(lambda texts: np.ones((len(texts), 2)), **options)  # type: ignore[arg-type]  # options of all kinds


def test_a_calibration_of_another_width_is_refused() -> None:
    with (
        vj.Embedder(lambda texts: np.ones((len(texts), 2)), precision="int8", calibration=np.eye(3)) as embedder,
        pytest.raises(vj.InvalidInput, match="width 3, and the model's have 2"),
    ):
        embedder.embed(["a", "b"])
