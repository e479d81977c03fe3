"""An event loop whose time is made up: whoever sleeps is woken at once, and the loop's clock says that the time has passed."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["virtually"]

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: what it would have waited is added to the time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._made_up = _Selector()
        super().__init__(self._made_up)

    def time(self) -> float:
        return self._made_up.now


def virtually(made: Callable[[Callable[[], float]], Coroutine[Any, Any, T]]) -> T:
    """Run what `made` makes, from the loop's clock, to its end."""
    loop = _Loop()
    try:
        return loop.run_until_complete(made(loop.time))
    finally:
        loop.close()
