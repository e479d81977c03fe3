"""Any function from a list of texts to vectors, as a provider."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from vjaccel.embedding.providers.protocol import ModelIdentity, Prepared, ProviderOptions
from vjaccel.errors import InvalidInput

__all__ = ["FunctionProvider"]


class FunctionProvider:
    """Calls a function, or an async one, with lists of texts.

    Nothing is known of its tokens: batches are planned by characters, and statistics say None.
    """

    batch_texts: int | None = 1024
    dimensions: int | None = None

    def __init__(self, function: Callable[[list[str]], Any], options: ProviderOptions) -> None:
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
        self.workers = options.workers or 1
        self.batch_tokens = options.batch_tokens or 1 << 22

    def identity(self, prompt: str) -> ModelIdentity:
        name = getattr(self._function, "__qualname__", type(self._function).__qualname__)
        return ModelIdentity("function", name, None, None, prompt, None)

    def prompt(self, role: str | None) -> str:
        return ""

    def prepare(self, texts: list[str], prompt: str) -> Prepared:
        items = [prompt + text for text in texts] if prompt else list(texts)
        lengths = np.fromiter(map(len, items), np.int64, len(items))
        return Prepared(items, lengths, np.zeros(len(items), np.int64), counted=False)

    def embed(self, items: list[str], prompt: str) -> Any:
        found = self._function(items)
        return asyncio.run(_awaited(found)) if inspect.isawaitable(found) else found

    def is_out_of_memory(self, exc: BaseException) -> bool:
        return isinstance(exc, MemoryError)

    def begun(self) -> None:
        pass

    def started(self) -> None:
        pass

    def ended(self) -> None:
        pass

    def close(self) -> None:
        pass


async def _awaited(found: Any) -> Any:
    return await found
