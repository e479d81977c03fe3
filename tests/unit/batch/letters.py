"""A function that embeds texts by their length and first letter, fails on the text ``bad``, and can be made to wait."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np

__all__ = ["Gate", "Letters"]


class Letters:
    """Embeds a text as (its length, its first letter's number), and counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, texts: list[str]) -> np.ndarray:
        with self._lock:
            self.asked.update(texts)
        if "bad" in texts:
            raise ValueError("bad is refused")
        return np.array([[len(text), ord(text[0])] for text in texts], np.float32)


class Gate(Letters):
    """One that begins each batch, says so, and goes on when the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.opened = threading.Event()
        self.order: list[str] = []

    def __call__(self, texts: list[str]) -> np.ndarray:
        with self._lock:
            self.order.append(texts[0])
        self.begun.release()
        assert self.opened.wait(60)
        return super().__call__(texts)
