"""float32 means float32: CuPy's process-wide choice of TF32 for products, off while any call of ours is inside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["full_precision"]

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
