"""float32 means float32: CuPy's process-wide choice of TF32 for products, off while any call of ours is inside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["full_precision", "launching", "tf32"]

launching = threading.Lock()
"""Held while a product of ours is given to a GPU, which takes microseconds: CuPy reads its choice then."""

_lock = threading.Lock()
_inside = 0
_saved: Any = None


@contextmanager
def full_precision() -> Iterator[None]:
    """Inside it float32 products are float32's; what the user had is back when the last thread has left."""
    global _inside, _saved
    import numpy as np
    from cupy import _core
    from cupy._core import _routines_linalg as linalg

    with _lock:
        if not _inside and _core.get_compute_type(np.float32) == linalg.COMPUTE_TYPE_TF32:
            _saved = linalg.COMPUTE_TYPE_TF32
            _core.set_compute_type(np.float32, linalg.COMPUTE_TYPE_DEFAULT)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _saved is not None:
                _core.set_compute_type(np.float32, _saved)
                _saved = None


@contextmanager
def tf32() -> Iterator[None]:
    """Inside it, and inside `full_precision`, products are TF32's; as before afterwards.

    CuPy has one choice for all threads, so it is so only while a product is launched, and other products of ours wait.
    """
    import numpy as np
    from cupy import _core
    from cupy._core import _routines_linalg as linalg

    with launching:
        before = _core.get_compute_type(np.float32)
        _core.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32)
        try:
            yield
        finally:
            _core.set_compute_type(np.float32, before)
