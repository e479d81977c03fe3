"""What the suite's parts share: the backend under test, and how values get to it and back."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from array_api_compat import array_namespace

from vjaccel.arrays.corpus import Corpus
from vjaccel.arrays.dispatch import home_of
from vjaccel.arrays.protocol import Array, Backend
from vjaccel.arrays.registry import get_backend
from vjaccel.arrays.testing.memory import peak_bytes
from vjaccel.arrays.testing.oracle import TOLERANCE, answers
from vjaccel.errors import BackendUnavailable

__all__ = ["DTYPES", "FLOATS", "REQUIRED", "Subject"]

REQUIRED = "VJACCEL_REQUIRE_BACKENDS"
"""The environment's list of specs, such as ``numpy,torch,jax:gpu``, that must work: one that does not is a failure."""

FLOATS = ("float16", "bfloat16", "float32", "float64")
DTYPES = (*FLOATS, "int8", "int64", "bool")


class Subject:
    """A backend under test. Nothing that it does may warn."""

    spec: ClassVar[str]

    _found: Backend | BackendUnavailable

    @pytest.fixture(name="subject")
    def _subject(self) -> Backend | BackendUnavailable:
        """The backend that `spec` names; a test of a variant may give another."""
        try:
            return get_backend(self.spec)
        except BackendUnavailable as exc:
            return exc

    @pytest.fixture(autouse=True)
    def _under_test(self, subject: Backend | BackendUnavailable) -> Iterator[None]:
        self._found = subject
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield

    @property
    def backend(self) -> Backend:
        """The backend under test. Skips the test where there is none: in its body, so that pytest sums up such tests."""
        if not isinstance(self._found, BackendUnavailable):
            return self._found
        if _required(self.spec):
            pytest.fail(f"{REQUIRED} asks for it: {self._found}")
        pytest.skip(str(self._found))

    def given(self, x: Any, dtype: str = "float32") -> Array:
        """`x` in `dtype`, as an array of the backend's library on its device."""
        if dtype in ("bfloat16", "float16") and not getattr(self.backend.capabilities, dtype):
            pytest.skip(f"the library has no {dtype}")
        if dtype == "bfloat16":
            # NumPy has none.
            array = self.given(x)
            xp = array_namespace(array)
            return xp.astype(array, xp.bfloat16)
        with np.errstate(all="ignore"):
            return self.backend.asarray(np.asarray(x).astype(dtype))

    def held(self, *arrays: Array) -> tuple[np.ndarray, ...]:
        """The values of arrays that were given, as the backend holds them, on the host."""
        return tuple(self.backend.to_numpy(x) for x in arrays)

    def host(self, x: Array) -> np.ndarray:
        """A result on the host: it must be of the library and the device of what was given."""
        assert home_of(x) == home_of(self.given(np.zeros(1)))
        return self.backend.to_numpy(x)

    def grown(self, call: Callable[[], object]) -> int:
        """By how many bytes the process had grown at most while `call` ran."""
        grown = peak_bytes(call)
        if grown is None:
            pytest.skip("this system does not say how much memory was taken")
        return grown

    def assert_changed_as_anew(self, corpus: Corpus, rows: Array) -> None:
        """Fail where `corpus`, which was made of `rows`, answers after changes otherwise than one made anew."""
        dim = int(rows.shape[1])
        numbers = np.random.default_rng(3).standard_normal((97, dim))
        queries, more, other = (self.given(x) for x in (numbers[:3], 30.0 * numbers[3:93], 7.0 * numbers[93:]))
        held, wanted, added, put = self.held(rows, queries, more, other)
        for _ in range(2):
            corpus.add(more)
            corpus.update([0, 5, 7, 40], other)
            corpus.remove([1, 2, 41])
            held = np.concatenate([held, added])
            held[[0, 5, 7, 40]] = put
            held = np.delete(held, [1, 2, 41], axis=0)
        expected = answers(corpus.metric.value, wanted, held, 12)[1]
        np.testing.assert_array_equal(self.host(corpus.topk(queries, 12).indices), expected)

    def result_dtype(self, dtype: str) -> np.dtype[Any]:
        """That of results from input of `dtype`."""
        wide = dtype in ("float64", "int64") and self.backend.capabilities.float64
        return np.dtype(np.float64 if wide else np.float32)

    def tolerance(self, dtype: str) -> float:
        """That of results from input of `dtype`."""
        return TOLERANCE[self.result_dtype(dtype).name]


def _required(spec: str) -> bool:
    required = {name.strip() for name in os.environ.get(REQUIRED, "").split(",")}
    return spec in required or spec.removesuffix(":cpu") in required
