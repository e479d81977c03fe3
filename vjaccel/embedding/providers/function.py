"""Any function from a list of texts to vectors, as a provider."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from vjaccel.embedding.providers.asked import refuse_others
from vjaccel.embedding.providers.loop import Loop
from vjaccel.embedding.providers.protocol import ModelIdentity, Prepared, ProviderOptions

__all__ = ["FunctionProvider"]


class FunctionProvider:
    """Calls a function, or an async one, with lists of texts.

    Nothing is known of its tokens: batches are planned by characters, and statistics say None. What an async function returns
    is awaited in one event loop for all batches, since clients and locks belong to the loop that first used them.
    """

    batch_texts: int | None = 1024
    dimensions: int | None = None
    tuned_as: str | None = None

    def __init__(self, function: Callable[[list[str]], Any], options: ProviderOptions, name: str | None = None) -> None:
        refuse_others(options, (), "a function decides for itself")
        self._function = function
        self._name = name or str(getattr(function, "__qualname__", type(function).__qualname__))
        self.workers = options.workers or 1
        self.batch_tokens = options.batch_tokens or 1 << 22
        self._loop: Loop | None = None
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
                self._loop = Loop()
                # For an embedder that nobody closes.
                weakref.finalize(self, self._loop.stop)
        return self._loop.result(found)

    def is_out_of_memory(self, exc: BaseException) -> bool:
        return isinstance(exc, MemoryError)

    def device_memory(self) -> int | None:
        return None

    def begun(self) -> None:
        pass

    def started(self) -> None:
        pass

    def halt(self) -> None:
        pass

    def ended(self) -> None:
        pass

    def close(self) -> None:
        if self._loop is not None:
            self._loop.stop()
