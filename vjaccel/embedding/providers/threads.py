"""Torch's number of threads, kept while worker threads have one each."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["one_torch_thread_each"]


class _Kept:
    """Remembers the process' number when the first run begins, and puts it back when the last one ends.

    A thread that sets its number of torch threads also sets the one that threads to come begin with, and MKL's for the whole
    process; neither goes back by itself when the thread ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._number = 0

    def begun(self, torch: Any) -> None:
        with self._lock:
            if self._runs == 0:
                self._number = torch.get_num_threads()
            self._runs += 1

    def ended(self, torch: Any) -> None:
        with self._lock:
            self._runs -= 1
            if self._runs == 0:
                # In a thread of its own, so that no thread that goes on loses a number of its own.
                restoring = threading.Thread(target=torch.set_num_threads, args=(self._number,))
                restoring.start()
                restoring.join()


one_torch_thread_each = _Kept()
