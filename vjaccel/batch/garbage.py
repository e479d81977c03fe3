"""Garbage collection left out while batches run, for all processors of this process together."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collection_deferred"]

SECONDS = 10.0
"""After which what has come to be is collected, even if batches run without a pause."""

_lock = threading.Lock()
_inside = 0
_was_enabled = False
_collected = 0.0


@contextmanager
def collection_deferred() -> Iterator[None]:
    """What is there is frozen, so that later collections pass over it, and none happens until the last block ends."""
    global _inside, _was_enabled, _collected
    with _lock:
        if _inside == 0:
            _was_enabled, _collected = gc.isenabled(), time.monotonic()
            gc.disable()
            gc.freeze()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                gc.unfreeze()
                if _was_enabled:
                    gc.enable()
            elif time.monotonic() - _collected > SECONDS:
                _collected = time.monotonic()
                gc.collect()  # what is frozen is not looked at
