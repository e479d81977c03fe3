"""Two devices of one library that do not mix, on a machine that has none: what is asked of a call that sees both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.conformance import plugins

strict = pytest.importorskip("array_api_strict")


@pytest.fixture(autouse=True)
def registered(tmp_path: Path) -> Iterator[None]:
    with plugins.installed(tmp_path, "strict-backend", {"strict": "tests.conformance.strict_backend:StrictBackend"}):
        yield


def on(device: str) -> Callable[[Any], Any]:
    return lambda x: strict.asarray(np.asarray(x), device=strict.Device(device))


here, there = on("device1"), on("device2")


def device(x: Any) -> str:
    return str(x.device)


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "topk": lambda a, b: vj.topk(a, b, 1).indices,
    "within": lambda a, b: vj.within(a, b, 0.5).indices,
    "similarity": vj.similarity,
    "distance": vj.distance,
    "paired_similarity": vj.paired_similarity,
    "paired_distance": vj.paired_distance,
}

every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))


@every_operation
def test_arrays_of_two_devices_are_refused_with_the_call_that_converts(operation: Any) -> None:
    with pytest.raises(TypeError, match=r"get_backend\('strict:gpu:1'\)"):
        operation(here(np.ones((2, 2))), there(np.ones((2, 2))))


@every_operation
@pytest.mark.parametrize("first", ["the device array", "the host array"])
def test_host_arrays_go_to_the_other_operands_device(operation: Any, first: str) -> None:
    pair = here(np.ones((2, 2))), np.ones((2, 2))
    found = operation(*(pair if first == "the device array" else pair[::-1]))
    # Computed there, either way; the result belongs to the library of the first.
    assert isinstance(found, np.ndarray) == (first == "the host array")


def test_a_named_backend_moves_what_it_must_and_the_result_goes_back_to_the_queries() -> None:
    with vj.use_backend("strict:gpu:2"):
        assert device(vj.similarity(here(np.ones((1, 2))), np.ones((3, 2)))) == device(here(0.0))
    found = vj.topk(here(np.eye(2)), there(np.eye(2)), 1, backend="strict:gpu:2")
    assert device(found.indices) == device(here(0.0))


def test_a_corpus_stays_where_it_is() -> None:
    corpus = vj.Corpus(there(np.eye(3)))
    assert repr(corpus) == "<Corpus of 3 x 3, cosine, on strict:gpu:2>"
    assert device(corpus.vectors) == device(there(0.0))


def test_queries_on_another_device_than_the_corpus_are_refused_unless_it_was_put_there_by_name() -> None:
    with pytest.raises(TypeError, match="queries are on strict:gpu:1 and the corpus on strict:gpu:2"):
        vj.Corpus(there(np.eye(3))).topk(here(np.eye(3)))
    found = vj.Corpus(there(np.eye(3)), backend="strict:gpu:2").topk(here(np.eye(3)), 1)
    assert device(found.indices) == device(here(0.0))


def test_a_dtype_that_the_library_lacks_is_taken_from_the_host_as_float32() -> None:
    x = np.eye(3, dtype=np.float16)
    assert vj.normalize(x, backend="strict").dtype == np.float32
