"""What the benchmark has in words: cases, their sizes, and how far from the truth a result is."""

from __future__ import annotations

from vjaccel.benchmark.results import Case
from vjaccel.pages.words import UNKNOWN, scaled

__all__ = ["case_words", "deviation", "shape"]


def case_words(case: Case) -> str:
    """A case in one line."""
    return " ".join(filter(None, (case.operation, case.metric, case.dtype, shape(case.shape))))


def shape(sizes: dict[str, int]) -> str:
    """A case's sizes: `100 × 200k × 384, k 10`."""  # noqa: RUF002  # the sign that it shows
    around = " × ".join(scaled(n) for name, n in sizes.items() if name != "k")  # noqa: RUF001  # as above
    return f"{around}, k {sizes['k']}" if "k" in sizes else around


def deviation(value: float | None) -> str:
    """How far from float64: `2.1e-07`."""
    return UNKNOWN if value is None else f"{value:.1e}" if value else "0"
