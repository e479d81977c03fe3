"""A request from an event loop: it waits in a thread of its own, and ends with the task that waits for it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["in_thread"]

Request = TypeVar("Request")
Response = TypeVar("Response")


async def in_thread(process: Callable[[Request, threading.Event], Response], request: Request) -> Response:
    """What `process` answers to `request`; when the task is cancelled the event is set.

    Not in the loop's own executor: a request of high priority would wait there for a thread behind those of low.
    """
    stopped = threading.Event()
    answer: Future[Response] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            found = context.run(process, request, stopped)
        except BaseException as exc:
            if answer.set_running_or_notify_cancel():
                answer.set_exception(exc)
        else:
            if answer.set_running_or_notify_cancel():
                answer.set_result(found)

    threading.Thread(target=run, name="vjaccel-request", daemon=True).start()
    try:
        return await asyncio.wrap_future(answer)
    except asyncio.CancelledError:
        stopped.set()
        raise
