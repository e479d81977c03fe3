"""A function that embeds numbers, and counts what it is asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np

__all__ = ["Counting"]


class Counting:
    """Embeds a number as a vector of its own, and counts how often it was asked for each; the text ``bad`` it refuses."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.asked.update(texts)
        if "bad" in texts:
            raise ValueError("bad is refused")
        return np.array([[float(text), 1.0] for text in texts])
