"""From token counts to batches: pure arithmetic."""

from __future__ import annotations

import numpy as np

__all__ = ["padding_share", "plan"]


def plan(lengths: np.ndarray, batch_tokens: int, most: int | None = None) -> list[np.ndarray]:
    """Batches of neighbours by length, the longest first, each at most `batch_tokens` when padded to its longest text.

    Parameters
    ----------
    lengths : ndarray of int, shape (n,)
        Tokens of each text.
    batch_tokens : int
        A longer text than this is a batch of its own.
    most : int, optional
        Texts in a batch at most.

    Returns
    -------
    list of ndarray of int64
        Each text's index in exactly one of them.

    Examples
    --------
    >>> [batch.tolist() for batch in plan(np.array([2, 9, 3, 8]), 18)]
    [[1, 3], [2, 0]]
    """
    # Stable, so that equal lengths keep the order of the input, and a plan is the same on every machine.
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        fits = max(1, batch_tokens // max(int(lengths[order[start]]), 1))
        end = min(start + fits, start + (most or fits), len(order))
        batches.append(order[start:end])
        start = end
    return batches


def padding_share(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    """The share of padding if each batch is padded to its longest text; 0 for no batches."""
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1.0 - float(sum(int(lengths[batch].sum()) for batch in batches)) / padded if padded else 0.0
