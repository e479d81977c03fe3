"""An event loop in a thread of its own, for what is async behind a provider's blocking methods."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

__all__ = ["Loop"]


class Loop:
    """An event loop that runs in a thread of its own until it is stopped.

    Parameters
    ----------
    closing : callable, optional
        Awaited in the loop when it is stopped, after what still ran was cancelled.
    """

    def __init__(self, closing: Callable[[], Awaitable[object]] | None = None) -> None:
        self._closing = closing
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="vjaccel-loop", daemon=True)
        self._thread.start()

    def result(self, found: Awaitable[Any]) -> Any:
        """What `found` gives when it is awaited in the loop; blocks. What it raises is raised here."""
        answer, stop = asyncio.run_coroutine_threadsafe(_awaited(found), self.loop).result()
        if stop is not None:
            raise stop
        return answer

    def stop(self) -> None:
        """Cancel what still runs, and end the thread. Stopping twice is fine."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            # The collector may find the provider while the loop's own thread runs.
            if threading.current_thread() is not self._thread:
                self._thread.join()

    def _run(self) -> None:
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(_others_cancelled())
            if self._closing is not None:
                self.loop.run_until_complete(_quietly(self._closing()))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()


async def _awaited(found: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """The answer, or what is to end the program: raised in a task, it would end the loop, and nobody would hear of it."""
    try:
        return await found, None
    except (KeyboardInterrupt, SystemExit) as exc:
        return None, exc


async def _quietly(closing: Awaitable[object]) -> None:
    with suppress(Exception):
        await closing


async def _others_cancelled() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
