"""Where arrays live, where a call computes, and where its result goes: on libraries that exist in these tests alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.arrays.loopback import LoopbackArray, OtherArray
from vjaccel.arrays.dispatch import home_of

A, B = np.eye(3), np.ones((3, 3))

OPERATIONS: dict[str, Callable[..., Any]] = {
    "scores": vj.similarity,
    "paired": vj.paired_distance,
    "topk": lambda a, b, **named: vj.topk(a, b, 1, **named).values,
}
every_operation = pytest.mark.parametrize(("name", "operation"), OPERATIONS.items(), ids=list(OPERATIONS))


class Wrapped:
    """Anything with `__array__`."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return A


@pytest.mark.parametrize("x", [A, A.tolist(), tuple(map(tuple, A)), Wrapped(), A.view(np.recarray), A.astype(int)])
@every_operation
def test_what_numpy_takes_is_a_host_array_and_the_result_numpys(calls: Any, name: str, operation: Any, x: Any) -> None:
    found = operation(x, B)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, operation(A, B))
    assert calls == []


@every_operation
def test_device_arrays_are_computed_where_they_are(calls: Any, on: Any, name: str, operation: Any) -> None:
    found = operation(on("loopback:gpu:1", A), on("loopback:gpu:1", B))
    assert calls == [(name, "loopback:gpu:1")]
    assert (type(found), found.place) == (LoopbackArray, "gpu:1")


@every_operation
def test_a_host_array_goes_to_the_device_of_the_other(calls: Any, on: Any, name: str, operation: Any) -> None:
    found = operation(on("loopback:gpu:1", A), B)
    assert calls == [(name, "loopback:gpu:1")]
    assert type(found) is LoopbackArray


@every_operation
def test_the_result_of_a_host_first_argument_is_on_the_host(calls: Any, on: Any, name: str, operation: Any) -> None:
    found = operation(A, on("loopback:gpu:1", B))
    assert calls == [(name, "loopback:gpu:1")]
    assert type(found) is np.ndarray


@every_operation
def test_two_libraries_in_one_call_are_a_type_error_with_the_converting_call(
    on: Any, name: str, operation: Any
) -> None:
    with pytest.raises(
        TypeError, match=r"loopback:gpu:0, \w+ on other:cpu; .*get_backend\('loopback:gpu:0'\)\.asarray"
    ):
        operation(on("loopback", A), on("other:cpu", B))


@every_operation
def test_a_named_backend_moves_what_it_must_over_the_host_if_need_be(
    calls: Any, on: Any, name: str, operation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "vjaccel.arrays"):
        found = operation(on("loopback:gpu:1", A), on("other:cpu", B), backend="other:gpu:0")
    assert calls == [(name, "other:gpu:0")]
    assert (type(found), found.place) == (LoopbackArray, "gpu:1")
    assert "over the host" in caplog.text


@every_operation
def test_the_converting_call_of_the_message_converts(calls: Any, on: Any, name: str, operation: Any) -> None:
    other = on("other:cpu", B)
    moved = vj.get_backend("loopback:gpu:0").asarray(vj.get_backend("other:cpu").to_numpy(other))
    operation(on("loopback", A), moved)
    assert calls == [(name, "loopback:gpu:0")]


@pytest.mark.parametrize("x", [A, 3.0, "text", [1.0], None, A.view(np.recarray), np.float32(3)])
def test_what_is_no_librarys_array_has_no_home(calls: Any, x: object) -> None:
    assert home_of(x) is None


def test_a_librarys_array_is_at_home_on_its_device(on: Any) -> None:
    cls, device = home_of(on("other:gpu:1", A)) or (None, "")
    assert cls is not None
    assert (cls.name, device) == ("other", "gpu:1")


def test_a_subclass_of_numpys_array_that_a_library_owns_is_that_librarys(on: Any) -> None:
    assert isinstance(vj.normalize(on("other", A)), OtherArray)


def test_a_mask_follows_the_corpus(on: Any) -> None:
    mask = np.asarray([False, True, True])
    for given in (mask, mask.tolist(), on("loopback", mask)):
        found = vj.topk(on("loopback", A), on("loopback", B), 1, mask=given)
        assert np.asarray(found.indices).tolist() == [[1]] * 3
