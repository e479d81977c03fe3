"""A stand-in for CuPy where there is no GPU: NumPy underneath, and CuPy's refusals.

It refuses what CuPy refuses: becoming a NumPy array unasked (``__array__``), NumPy arrays as operands, arguments or
indices, an array of another device than the current one (as where GPUs cannot read each other's memory), and the truth
or the number of an array of more than one element. A reduction gives an array of no dimensions, never a scalar. It has
two devices, and counts what is copied to the host.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["build", "installed"]

DEVICES = 2


class OutOfMemoryError(MemoryError):
    """As ``cupy.cuda.memory.OutOfMemoryError``."""


class Device:
    """As ``cupy.cuda.Device``: a context in which it is the thread's current one."""

    _thread = threading.local()

    def __init__(self, device: int | Device | None = None) -> None:
        self.id = Device.current() if device is None else int(getattr(device, "id", device))
        if not 0 <= self.id < DEVICES:
            raise RuntimeError(f"cudaErrorInvalidDevice: invalid device ordinal {self.id}")

    @classmethod
    def _stack(cls) -> list[int]:
        if not hasattr(cls._thread, "stack"):
            cls._thread.stack = [0]
        return cls._thread.stack

    @classmethod
    def current(cls) -> int:
        return cls._stack()[-1]

    def __enter__(self) -> Device:
        self._stack().append(self.id)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack().pop()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    compute_capability = "90"

    def synchronize(self) -> None:
        """Nothing is ever under way."""


class Stream:
    """As ``cupy.cuda.Stream``: of the device that is current when it is made."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.device = Device()

    def __enter__(self) -> Stream:
        if self.device.id != Device.current():
            raise ValueError("a stream of another device than the current one")
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def synchronize(self) -> None:
        """Nothing is ever under way."""


class ndarray:  # noqa: N801  # CuPy's own name
    """As ``cupy.ndarray``."""

    __slots__ = ("_host", "device")
    __array_ufunc__ = None
    copied_to_host = 0

    def __init__(self, host: np.ndarray, device: int | None = None) -> None:
        self._host = host
        self.device = Device(device)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    def __dlpack__(self, **kwargs: object) -> object:
        raise BufferError("no library here can take memory of a CUDA device")

    def get(self, **kwargs: object) -> np.ndarray:
        type(self).copied_to_host += 1
        return self._host.copy()

    def set(self, x: np.ndarray) -> None:
        if type(x) is not np.ndarray or (x.shape, x.dtype) != (self.shape, self.dtype):
            raise ValueError("a NumPy array of the same shape and dtype is set")
        _own(self)[...] = x

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    itemsize = property(lambda self: self._host.itemsize)
    T = property(lambda self: ndarray(self._host.T, self.device.id))

    def copy(self, order: str = "C") -> ndarray:
        # To the current device, from whatever device.
        return ndarray(self._host.copy(order))

    def astype(self, dtype: Any, order: str = "K", copy: bool = True, **kwargs: object) -> ndarray:
        return ndarray(_own(self).astype(dtype, copy=copy))

    def __getitem__(self, key: Any) -> ndarray:
        found = self._host[_index(key)]
        return ndarray(np.asarray(found), self.device.id)

    def __setitem__(self, key: Any, value: Any) -> None:
        _own(self)[_index(key)] = _plain(value)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self._one())

    def __float__(self) -> float:
        return float(self._one())

    def __int__(self) -> int:
        return int(self._one())

    def _one(self) -> Any:
        if self.size != 1:
            raise ValueError("The truth value and the number of an array with more than one element are ambiguous")
        return self.get().reshape(())[()]

    def __repr__(self) -> str:
        return f"strict {self._host!r} on {self.device.id}"


def _own(x: ndarray) -> np.ndarray:
    if x.device.id != Device.current():
        raise ValueError(f"Array device must be same as the current device: array {x.device.id} != {Device.current()}")
    return x._host


def _plain(value: Any) -> Any:
    """An argument as NumPy's function takes it; what CuPy would not take is refused."""
    if isinstance(value, ndarray):
        return _own(value)
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, list | tuple):
        return type(value)(_plain(x) for x in value)
    return value


def _index(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_index(x) for x in key)
    if isinstance(key, list):
        raise IndexError("a list as an index is a copy to the device")
    return _plain(key)


def _wrapped(found: Any) -> Any:
    if isinstance(found, np.ndarray | np.generic):
        return ndarray(np.asarray(found))
    if isinstance(found, tuple):
        return tuple(_wrapped(x) for x in found)
    return [_wrapped(x) for x in found] if isinstance(found, list) else found


def _like(function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        return _wrapped(function(*_plain(args), **{name: _plain(x) for name, x in kwargs.items()}))

    called.__name__ = getattr(function, "__name__", "function")
    return called


def _operator(name: str, ufunc: np.ufunc, swapped: bool) -> Callable[..., Any]:
    def called(self: ndarray, other: Any = None) -> Any:
        if other is None:
            return _wrapped(ufunc(_own(self)))
        pair = (_own(self), _plain(other))
        return _wrapped(ufunc(*(reversed(pair) if swapped else pair)))

    called.__name__ = name
    return called


OPERATORS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "pow": np.power,
    "matmul": np.matmul, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "mod": np.remainder,
    "floordiv": np.floor_divide,
}  # fmt: skip
COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "neg": np.negative, "invert": np.invert, "abs": np.absolute,
}  # fmt: skip

for _name, _ufunc in OPERATORS.items():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__", _ufunc, False))
    setattr(ndarray, f"__r{_name}__", _operator(f"__r{_name}__", _ufunc, True))
for _name, _ufunc in COMPARISONS.items():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__", _ufunc, False))
ndarray.__hash__ = None  # type: ignore[assignment]  # as every array
ndarray.__module__ = "cupy"


def _asarray(x: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False) -> Any:
    if isinstance(x, ndarray) and (dtype is None or x.dtype == dtype) and not copy:
        return x
    return ndarray(np.array(x._host if isinstance(x, ndarray) else x, dtype=dtype))


def _argsort(x: ndarray, axis: int = -1, kind: str | None = None) -> ndarray:
    if kind not in (None, "stable"):
        raise ValueError("kind is None or 'stable'")
    return ndarray(np.argsort(_own(x), axis=axis, kind="stable"))


def _argpartition(x: ndarray, kth: int, axis: int = -1) -> ndarray:
    return ndarray(np.argpartition(_own(x), kth, axis=axis))


def _take(x: ndarray, indices: Any, axis: int | None = None, out: None = None) -> ndarray:
    return ndarray(np.take(_own(x), _plain(indices), axis=axis))


def _from_dlpack(x: Any) -> ndarray:
    kind, number = x.__dlpack_device__()
    if kind != 2:
        raise ValueError("CuPy takes memory of CUDA devices alone")
    raise NotImplementedError(f"memory of the device {number}, where there is none")


def build() -> dict[str, types.ModuleType]:
    """The modules, by name."""
    modules = {
        name: types.ModuleType(name)
        for name in ("cupy", "cupy.linalg", "cupy.fft", "cupy.cuda", "cupy.cuda.memory", "cupy.cuda.device",
                     "cupy.cuda.runtime", "cupy._core", "cupy._core._routines_linalg")
    }  # fmt: skip
    cupy = modules["cupy"]
    for name in (*np.__all__, "abs", "max", "min", "round"):
        value = getattr(np, name)
        if isinstance(value, type | float | int | None):
            setattr(cupy, name, value)
        elif callable(value):
            setattr(cupy, name, _like(value))
    for name in ("linalg", "fft"):
        source, target = getattr(np, name), modules[f"cupy.{name}"]
        for inner in source.__all__:
            setattr(target, inner, _like(getattr(source, inner)))
    vars(cupy).update(
        ndarray=ndarray, asarray=_asarray, array=_asarray, asnumpy=lambda x: x.get(), from_dlpack=_from_dlpack,
        argsort=_argsort, argpartition=_argpartition, take=_take, finfo=np.finfo, iinfo=np.iinfo,
        issubdtype=np.issubdtype, result_type=_like(np.result_type), can_cast=np.can_cast, isdtype=np.isdtype,
    )  # fmt: skip
    for name in ("asanyarray", "ascontiguousarray", "errstate", "vectorize"):
        vars(cupy).pop(name, None)
    modules["cupy.cuda"].Device = modules["cupy.cuda.device"].Device = Device  # type: ignore[attr-defined]
    modules["cupy.cuda"].Stream = Stream  # type: ignore[attr-defined]
    modules["cupy.cuda"].alloc_pinned_memory = lambda size: bytearray(size + 100)  # type: ignore[attr-defined]  # or more
    modules["cupy.cuda.memory"].OutOfMemoryError = OutOfMemoryError  # type: ignore[attr-defined]
    modules["cupy.cuda.runtime"].getDeviceCount = lambda: DEVICES  # type: ignore[attr-defined]
    modules["cupy.cuda.runtime"].is_hip = False  # type: ignore[attr-defined]
    _allocators(cupy, modules["cupy.cuda"])
    _compute_types(modules["cupy._core"], modules["cupy._core._routines_linalg"])
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    return modules


def _compute_types(core: Any, linalg: Any) -> None:
    linalg.COMPUTE_TYPE_DEFAULT, linalg.COMPUTE_TYPE_TF32 = 1, 7
    chosen = {np.float32: 1}
    core.get_compute_type = chosen.__getitem__
    core.set_compute_type = chosen.__setitem__

    def matmul(a: ndarray, b: ndarray) -> Any:
        left, right = _own(a), _own(b)
        if left.dtype == right.dtype == np.float32 and chosen[np.float32] == linalg.COMPUTE_TYPE_TF32:
            left, right = (_cut(x) for x in (left, right))
        return ndarray(np.matmul(left, right))

    ndarray.__matmul__ = matmul  # type: ignore[attr-defined]
    linalg.tensordot_core_v11 = _gemm


def _cut(x: np.ndarray) -> np.ndarray:
    """Float32 numbers without the lower 13 bits, as TF32's are."""
    return (np.ascontiguousarray(x).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def _gemm(
    transposed_a: int, transposed_b: int, m: int, n: int, k: int,
    a: ndarray, lda: int, b: ndarray, ldb: int, c: ndarray, ldc: int,
) -> None:  # fmt: skip
    """``c = op(a) @ op(b)`` as cuBLAS has it: matrices by columns, in memory of any shape, summed in float32."""
    left, right = (np.ravel(_own(x)).astype(np.float32).reshape((ld, -1), order="F") for x, ld in ((a, lda), (b, ldb)))
    left, right = left.T if transposed_a else left, right.T if transposed_b else right
    assert left.shape == (m, k)
    assert right.shape == (k, n)
    assert ldc == m
    _own(c)[...] = np.ravel(left @ right, order="F").reshape(c.shape)


def _allocators(cupy: Any, cuda: Any) -> None:
    """The choice of an allocator; here it allocates nothing."""

    class Pool:
        def malloc(self, size: int) -> None: ...

    class FunctionAllocator:
        def __init__(self, allocate: Any, free: Any) -> None:
            self.allocate, self.free = allocate, free

        def malloc(self, size: int) -> int:
            return int(self.allocate(size, Device.current()))

    pool = Pool()
    chosen: list[Any] = [pool.malloc]
    cupy.get_default_memory_pool = lambda: pool
    cuda.get_allocator = lambda: chosen[-1]
    cuda.set_allocator = chosen.append
    cuda.PythonFunctionAllocator = FunctionAllocator
    cuda.get_current_stream = lambda: types.SimpleNamespace(ptr=7)


@contextmanager
def installed() -> Iterator[types.ModuleType]:
    """Inside it ``import cupy`` gives the stand-in."""

    def ours(name: str) -> bool:
        return name.partition(".")[0] == "cupy" or name.startswith("array_api_compat.cupy")

    before = {name: module for name, module in sys.modules.items() if ours(name)}
    for name in before:
        del sys.modules[name]
    modules = build()
    sys.modules.update(modules)
    try:
        yield modules["cupy"]
    finally:
        for name in [name for name in sys.modules if ours(name)]:
            del sys.modules[name]
        sys.modules.update(before)
