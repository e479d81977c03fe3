"""From what that library takes to tensors, and from tensors to vjaccel's operations and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vjaccel.arrays import get_backend
from vjaccel.arrays.protocol import Array

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Given", "batch", "computed", "host_or_device", "tensor"]

Given: TypeAlias = "list[Any] | np.ndarray | Tensor"
"""What that library's functions take."""


def tensor(x: Given) -> Tensor:
    """`x` as a dense tensor: NumPy arrays without a copy, lists of floats as float32."""
    import torch

    if isinstance(x, torch.Tensor):
        return x.to_dense() if x.is_sparse else x
    if isinstance(x, np.ndarray):
        return get_backend("torch:cpu").asarray(x)
    if isinstance(x, list | tuple) and len(x):
        if all(isinstance(row, torch.Tensor) for row in x):
            return torch.stack([tensor(row) for row in x])
        if all(isinstance(row, np.ndarray) for row in x):
            return tensor(np.stack(x))
    return torch.tensor(x)


def batch(x: Given) -> Tensor:
    """`x` as a tensor of rows, a single vector as one."""
    found = tensor(x)
    return found[None, :] if found.ndim == 1 else found


def host_or_device(x: Tensor) -> Array:
    """`x` as the array that vjaccel is to see: NumPy's where it is on the CPU, and no gradient is wanted.

    There the default backend is faster than torch, and `use_backend` and `set_backend` hold as for any host array.
    """
    import torch

    wanted = x.requires_grad and torch.is_grad_enabled()
    host = type(x) is torch.Tensor and x.device.type == "cpu" and not wanted and x.dtype != torch.bfloat16
    return x.detach().numpy() if host else x


def computed(operation: Callable[..., Array], *operands: Tensor, **arguments: Any) -> Tensor:
    """What one of vjaccel's operations gives for tensors: a tensor, on their device."""
    import torch

    seen = [host_or_device(x) for x in operands]
    if not all(isinstance(x, np.ndarray) for x in seen):
        return operation(*operands, **arguments)
    return torch.from_numpy(np.asarray(operation(*seen, **arguments)))
