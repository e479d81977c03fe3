"""Any function from a list of texts to vectors, as a provider."""

from __future__ import annotations

import asyncio
import inspect
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from vjaccel.embedding.providers.protocol import ModelIdentity, Prepared, ProviderOptions
from vjaccel.errors import InvalidInput

__all__ = ["FunctionProvider"]


class FunctionProvider:
    """Calls a function, or an async one, with lists of texts.

    Nothing is known of its tokens: batches are planned by characters, and statistics say None. What an async function returns
    is awaited in one event loop for all batches, since clients and locks belong to the loop that first used them.
    """

    batch_texts: int | None = 1024
    dimensions: int | None = None

    def __init__(self, function: Callable[[list[str]], Any], options: ProviderOptions, name: str | None = None) -> None:
        asked = {
            "device": options.device != "auto",
            "dtype": options.dtype != "auto",
            "dimensions": options.dimensions is not None,
            "normalize": options.normalize is not None,
            "revision": options.revision is not None,
        }
        refused = [name for name, given in asked.items() if given]
        if refused:
            raise InvalidInput(f"a function decides for itself: {', '.join(refused)}= cannot be given with one")
        self._function = function
        self._name = name or str(getattr(function, "__qualname__", type(function).__qualname__))
        self.workers = options.workers or 1
        self.batch_tokens = options.batch_tokens or 1 << 22
        self._loop: _Loop | None = None
        self._lock = threading.Lock()

    def identity(self, prompt: str) -> ModelIdentity:
        return ModelIdentity("function", self._name, None, None, prompt, None)

    def prompt(self, role: str | None) -> str:
        return ""

    def prepare(self, texts: list[str], prompt: str) -> Prepared:
        items = [prompt + text for text in texts] if prompt else list(texts)
        lengths = np.fromiter(map(len, items), np.int64, len(items))
        return Prepared(items, lengths, np.zeros(len(items), np.int64), counted=False)

    def embed(self, items: list[str], prompt: str) -> Any:
        found = self._function(items)
        if not inspect.isawaitable(found):
            return found
        with self._lock:
            if self._loop is None:
                self._loop = _Loop()
                # For an embedder that nobody closes.
                weakref.finalize(self, self._loop.stop)
        answer, stop = asyncio.run_coroutine_threadsafe(_awaited(found), self._loop.loop).result()
        if stop is not None:
            raise stop
        return answer

    def is_out_of_memory(self, exc: BaseException) -> bool:
        return isinstance(exc, MemoryError)

    def begun(self) -> None:
        pass

    def started(self) -> None:
        pass

    def ended(self) -> None:
        pass

    def close(self) -> None:
        if self._loop is not None:
            self._loop.stop()


class _Loop:
    """An event loop that runs in a thread of its own until it is stopped."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="vjaccel-loop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            # The collector may find the provider while the loop's own thread runs.
            if threading.current_thread() is not self._thread:
                self._thread.join()

    def _run(self) -> None:
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(_others_cancelled())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()


async def _awaited(found: Any) -> tuple[Any, BaseException | None]:
    """The answer, or what is to end the program: raised in a task, it would end the loop, and nobody would hear of it."""
    try:
        return await found, None
    except (KeyboardInterrupt, SystemExit) as exc:
        return None, exc


async def _others_cancelled() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
