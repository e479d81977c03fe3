"""The generic backend on a library that is the standard and nothing more, on a device that mixes with no other."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import numpy as np
import pytest

import vjaccel as vj
from tests.conformance.oracle import METRICS, answers, awkward, pairs
from vjaccel.arrays import registry
from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array

strict = pytest.importorskip("array_api_strict")

DEVICES = {"cpu": "CPU_DEVICE", "gpu:1": "device1", "gpu:2": "device2"}


class StrictBackend(GenericBackend):
    """All that a third party writes."""

    name: ClassVar[str] = "strict"
    array_modules: ClassVar[tuple[str, ...]] = ("array_api_strict",)
    requires: ClassVar[tuple[str, ...]] = ("array-api-strict",)
    install: ClassVar[str] = "pip install array-api-strict"

    def __init__(self, device: str) -> None:
        super().__init__(device, strict, strict.Device(DEVICES[device]))

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return tuple(DEVICES)

    @classmethod
    def device_of(cls, x: Array) -> str:
        return next(name for name, native in DEVICES.items() if strict.Device(native) == x.device)

    def asarray(self, x: Array) -> Array:
        moved = isinstance(x, strict._array_object.Array)
        return x.to_device(self.native_device) if moved else strict.asarray(x, device=self.native_device)

    def to_numpy(self, x: Array) -> np.ndarray:
        return np.asarray(x.to_device(strict.Device("CPU_DEVICE")))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entry = EntryPoint("strict", f"{__name__}:StrictBackend", registry.GROUP)
    known = registry._entry_points() | {"strict": entry}
    monkeypatch.setattr(registry, "_entry_points", lambda: known)
    monkeypatch.setattr(registry, "_instances", {})
    registry._owner_by_module.cache_clear()
    yield
    registry._owner_by_module.cache_clear()


@pytest.fixture
def there() -> Any:
    """Puts an array on the second device."""
    return lambda x: strict.asarray(x, device=strict.Device("device1"))


def host(x: Any) -> np.ndarray:
    assert x.device == strict.Device("device1")
    return np.asarray(x.to_device(strict.Device("CPU_DEVICE")))


@pytest.mark.parametrize("metric", METRICS)
def test_topk_finds_the_oracles_ids(there: Any, metric: str) -> None:
    queries, corpus = awkward(rows=300)
    found = vj.topk(there(queries), there(corpus), 7, metric=metric)
    np.testing.assert_array_equal(host(found.indices), answers(metric, queries, corpus, 7)[1])


@pytest.mark.parametrize("metric", METRICS)
def test_a_mask_holds(there: Any, metric: str) -> None:
    queries, corpus = awkward(rows=200)
    mask = np.random.default_rng(1).random((len(queries), len(corpus))) < 0.1
    found = vj.topk(there(queries), there(corpus), 7, metric=metric, mask=there(mask))
    np.testing.assert_array_equal(host(found.indices), answers(metric, queries, corpus, 7, mask)[1])


@pytest.mark.parametrize("metric", METRICS)
def test_all_pairs_and_pairs_agree_with_the_oracle(there: Any, metric: str) -> None:
    generator = np.random.default_rng(2)
    a, b = generator.standard_normal((12, 9)), generator.standard_normal((12, 9))
    b[3] = a[3]
    many, rowwise = (
        (vj.similarity, vj.paired_similarity) if metric in ("cosine", "dot") else (vj.distance, vj.paired_distance)
    )
    expected = pairs(metric, a, b)
    np.testing.assert_allclose(host(many(there(a), there(b), metric=metric)), expected, atol=1e-9)
    np.testing.assert_allclose(host(rowwise(there(a), there(b), metric=metric)), np.diag(expected), atol=1e-9)


def test_normalizing_stays_on_the_device(there: Any) -> None:
    found = host(vj.normalize(there(np.asarray([[3.0, 4.0], [0.0, 0.0]]))))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]])


def test_arrays_of_two_devices_are_refused_with_the_call_that_converts(there: Any) -> None:
    elsewhere = strict.asarray(np.ones((3, 2)), device=strict.Device("device2"))
    with pytest.raises(TypeError, match=r"get_backend\('strict:gpu:1'\)"):
        vj.topk(there(np.ones((1, 2))), elsewhere)


def test_host_arrays_go_to_the_other_operands_device(there: Any) -> None:
    assert host(vj.similarity(there(np.ones((1, 2))), np.ones((3, 2)))).shape == (1, 3)
