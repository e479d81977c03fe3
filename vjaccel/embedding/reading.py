"""Reading what is to be embedded, some texts at a time: as many as there are to be, or as many as have come."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterable, Iterable, Iterator
from concurrent.futures import CancelledError
from itertools import islice
from typing import Any

__all__ = ["Awaited", "LiveReader", "Reader"]


class Reader:
    """Reads `size` items at a time, in the calling thread; an error ends the items, and is kept.

    Attributes
    ----------
    error : Exception or None
        What reading failed with.
    ended : bool
        Whether there is no more to come.
    """

    def __init__(self, items: Iterable[Any], size: int) -> None:
        self._items = iter(items)
        self._size = size
        self.error: BaseException | None = None
        self.ended = False

    def next(self, *, wait: bool) -> list[Any]:
        """The next items; none where there are no more."""
        found: list[Any] = []
        try:
            for item in islice(self._items, self._size):
                found.append(item)  # one by one: list() would lose what came before an error
        except Exception as exc:
            self.error = exc
        self.ended = self.error is not None or len(found) < self._size
        return found

    def close(self) -> None:
        """There is nothing to let go of."""


class LiveReader:
    """Reads in a thread of its own, and gives what has come within `max_latency` seconds of the first.

    At most two times `size` items are read ahead. A thread cannot be taken out of a read that waits for something to come: it
    is left behind, and ends with the next item.
    """

    def __init__(self, items: Iterable[Any], size: int, max_latency: float) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(2 * size)
        self._size = size
        self._latency = max_latency
        self._closed = threading.Event()
        self._pending: list[Any] = []
        self._deadline = 0.0
        self.error: BaseException | None = None
        self.ended = False
        threading.Thread(target=self._read, args=(items,), name="vjaccel-read", daemon=True).start()

    def next(self, *, wait: bool) -> list[Any]:
        """The next items; none where there are no more, or without `wait` where they may still wait for others."""
        while not self.ended and len(self._pending) < self._size:
            try:
                item = self._queue.get(block=wait, timeout=self._left() if self._pending else None)
            except queue.Empty:
                break
            if item is _END:
                self.ended = True
                break
            if not self._pending:
                self._deadline = time.monotonic() + self._latency
            self._pending.append(item)
        if self._pending and not (wait or self.ended or len(self._pending) == self._size) and self._left():
            return []
        found, self._pending = self._pending, []
        return found

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def close(self) -> None:
        """Have the thread end."""
        self._closed.set()
        while not self._queue.empty():
            self._queue.get_nowait()  # it may wait for room

    def _read(self, items: Iterable[Any]) -> None:
        try:
            for item in items:
                self._queue.put(item)
                if self._closed.is_set():
                    return
        except BaseException as exc:  # whoever reads must hear of it, whatever it is
            self.error = exc
        self._queue.put(_END)


class Awaited:
    """The items of an async iterable, for a thread that is not its loop's."""

    def __init__(self, items: AsyncIterable[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._items = aiter(items)
        self._loop = loop
        self._stopped = False
        self._task: asyncio.Task[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        while not self._stopped:
            try:
                item = asyncio.run_coroutine_threadsafe(self._one(), self._loop).result()
            except CancelledError:
                return
            if item is _END:
                return
            yield item

    async def stop(self) -> None:
        """End the iteration, and the iterable's own, in its loop."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()

    async def _one(self) -> Any:
        self._task = asyncio.current_task()
        return await anext(self._items, _END)


_END = object()
