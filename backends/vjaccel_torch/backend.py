"""The torch backend: what of the contract torch does in its own way."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np

from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array, Capabilities, Coarse, Metric, TopK
from vjaccel.arrays.search import PreparedRows
from vjaccel_torch.precision import full_precision, launching, tf32

__all__ = ["TorchBackend"]

Result = TypeVar("Result")


class TorchBackend(GenericBackend):
    """torch tensors on one device. Apple's MPS is left out: exact scores need float64, which it has not."""

    name: ClassVar[str] = "torch"
    array_modules: ClassVar[tuple[str, ...]] = ("torch",)
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    install: ClassVar[str] = "pip install 'vjaccel[torch]'"
    gpu_install: ClassVar[str] = "pip install --force-reinstall torch  # PyPI's, which for Linux is the CUDA build"
    manhattan_broadcasts: ClassVar[bool] = False
    _scans: tuple[Coarse, ...] = ("float16",)

    def __init__(self, device: str) -> None:
        import array_api_compat.torch as xp
        import torch

        super().__init__(device, xp, torch.device(device.replace("gpu", "cuda")))
        if self.native_device.type == "cuda":
            self._scans = _gpu_scans(self.native_device)

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return (*(f"gpu:{i}" for i in range(_gpus())), "cpu")

    @classmethod
    def device_of(cls, x: Array) -> str:
        return f"gpu:{x.device.index}" if x.device.type == "cuda" else str(x.device.type)

    @classmethod
    def remark(cls) -> str | None:
        import torch

        if torch.backends.mps.is_available():
            return "Apple's MPS is not used: it has no float64, which exact scores need"
        if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
            return "a CPU build of torch: it sees no GPU"
        return None if _gpus() else "torch was built for a GPU, and sees none"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(bfloat16=True, gradients=True, scans=self._scans)

    def asarray(self, x: Array) -> Array:
        import torch

        if isinstance(x, torch.Tensor):
            return x.to(self.native_device)
        if isinstance(x, np.ndarray | np.generic):
            return torch.from_numpy(_writable(np.asarray(x))).to(self.native_device)
        return torch.utils.dlpack.from_dlpack(x).to(self.native_device)

    def upload(self, x: np.ndarray) -> Array:
        if self.native_device.type != "cuda":
            return self.asarray(x)
        import torch

        given = torch.from_numpy(_writable(x))
        with torch.cuda.stream(self._uploads):
            pinned = torch.empty(given.shape, dtype=given.dtype, pin_memory=True).copy_(given)  # torch reuses them
            found = pinned.to(self.native_device, non_blocking=True)
            # Waited for by this thread alone. Whoever takes it reads its results before letting it go, so that its memory,
            # which goes back to this stream, is not written to while it is read.
            self._uploads.synchronize()
        return found

    @cached_property
    def _uploads(self) -> Any:
        import torch

        return torch.cuda.Stream(self.native_device)

    def to_numpy(self, x: Array) -> np.ndarray:
        import torch

        x = x.detach()
        host: np.ndarray = (x.float() if x.dtype == torch.bfloat16 else x).cpu().numpy()  # NumPy has no bfloat16
        return host

    def synchronize(self) -> None:
        if self.native_device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.native_device)

    def is_out_of_memory(self, exc: BaseException) -> bool:
        import torch

        # The CPU's allocator and cuBLAS raise plain RuntimeErrors.
        said = isinstance(exc, RuntimeError) and ("can't allocate memory" in str(exc) or "ALLOC_FAILED" in str(exc))
        return said or isinstance(exc, torch.OutOfMemoryError | MemoryError)

    def half_product(self, a: Array, b: Array) -> Array:
        import torch

        # On a CPU torch sums halves in halves where it has no kernel of oneDNN's.
        return torch.mm(a, b, out_dtype=torch.float32) if a.device.type == "cuda" else super().half_product(a, b)

    def tf32_product(self, a: Array, b: Array) -> Array:
        with tf32():
            return a @ b

    def matmul(self, a: Array, b: Array) -> Array:
        if a.device.type != "cuda":
            return a @ b
        with launching:  # never while `tf32` is on in another thread
            return a @ b

    def manhattan(self, a: Array, b: Array) -> Array:
        import torch

        return torch.cdist(a, b, p=1.0)

    def norms(self, x: Array) -> Array:
        import torch

        return torch.linalg.vector_norm(x, dim=1)  # its gradient at zero is zero

    def rounded_sqrt(self, x: Array) -> Array:
        import torch

        # On the CPU torch takes MKL's, which is wrong in the last bit of half the numbers, by where they lie (2.13).
        return torch.from_numpy(np.asarray(np.sqrt(x.numpy()))) if x.device.type == "cpu" else torch.sqrt(x)

    def largest(self, scores: Array, count: int) -> Array:
        import torch

        return torch.topk(scores, count, dim=1, sorted=False).indices

    def put(self, out: Array, rows: Array, columns: Array, values: Array) -> Array:
        # Not in place: the square root under `out` needs its own result for the gradient.
        return out.index_put((rows, columns), values) if out.requires_grad else super().put(out, rows, columns, values)

    def prepare(self, vectors: Array, metric: Metric) -> PreparedRows:
        return super().prepare(vectors.detach(), metric)  # a choice of rows has no gradient: keep no graph

    def without_gradient(self, x: Array) -> Array:
        return x.detach()

    def topk(self, queries: Array, prepared: PreparedRows, k: int, mask: Array | None) -> TopK:
        return super().topk(queries.detach(), prepared, k, mask)

    def error_bound(self, queries: Array, prepared: PreparedRows) -> tuple[Array, float]:
        return super().error_bound(queries.detach(), prepared)

    def above(
        self, queries: Array, prepared: PreparedRows, thresholds: Array, mask: Array | None
    ) -> Iterator[tuple[np.ndarray, Array]]:
        return super().above(queries.detach(), prepared, thresholds, mask)

    def rescore(self, queries: Array, prepared: PreparedRows, ids: Array) -> Array:
        return super().rescore(queries.detach(), prepared, ids)

    def mean(self, x: Array) -> Array:
        return super().mean(x.detach())  # a distance does not depend on the point it is computed about

    def _reach(self, x: Array) -> float:
        return super()._reach(x.detach())

    def retried(self, run: Callable[[], Result]) -> Result:
        with self._exact():
            return super().retried(run)

    @contextmanager
    def _exact(self) -> Iterator[None]:
        """Neither TF32 nor autocast's half precision."""
        import torch

        kind = self.native_device.type
        with ExitStack() as held:
            held.enter_context(full_precision())
            if torch.is_autocast_enabled(kind):
                held.enter_context(torch.autocast(kind, enabled=False))
            yield


def _gpus() -> int:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a broken driver warns here; `remark` says it
        return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def _gpu_scans(device: Any) -> tuple[Coarse, ...]:
    """What a CUDA device has: TF32 from Ampere on, products of halves that are summed and kept in float32 from torch 2.8."""
    import torch

    if torch.version.cuda is None or not torch.cuda.is_available():
        return ()
    kept = "dtype" in torch.ops.aten.mm.overloads()
    ampere = torch.cuda.get_device_capability(device) >= (8, 0)
    return (*(("tf32",) if ampere else ()), *(("float16",) if kept else ()))


def _writable(x: np.ndarray) -> np.ndarray:
    """`x` as torch takes it: its own memory where it can be, said to be writable, since torch warns of what is not.

    Nothing here writes to its input.
    """
    if any(stride < 0 or stride % x.itemsize for stride in x.strides) or not x.dtype.isnative:
        return np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("="))
    return x if x.flags.writeable else np.asarray(_Writable(x))


class _Writable:
    def __init__(self, x: np.ndarray) -> None:
        self.x = x
        described: dict[str, Any] = dict(x.__array_interface__)
        self.__array_interface__ = described | {"data": (described["data"][0], False)}
