"""Texts that are longer than a model takes, in windows that it takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Windows", "cut"]

OVERLAP = 8
"""A window begins with this part of what the one before ended with: one in eight tokens is read twice."""


class Windows(NamedTuple):
    """A text in windows.

    Attributes
    ----------
    rows : list of ndarray
        The tokens of each window, as a model takes them.
    weights : ndarray of int64
        How many of a window's tokens are the text's own.
    """

    rows: list[np.ndarray]
    weights: np.ndarray

    @property
    def tokens(self) -> int:
        """Of all windows, what is put around them and what they share counted in each."""
        return sum(row.shape[1] for row in self.rows)


def cut(tokens: np.ndarray, longest: int, before: int, after: int) -> Windows | None:
    """A text's tokens in windows of at most `longest`, each with what is before and after the text.

    Parameters
    ----------
    tokens : ndarray, shape (k, n)
        All tokens of the text, in k rows that are cut alike.
    before, after : int
        How many tokens at the beginning and the end are not the text's own: special ones, and a prompt.

    Returns
    -------
    Windows or None
        None where nothing is left of `longest` for the text.

    Examples
    --------
    >>> [row.tolist() for row in cut(np.array([[1, 5, 6, 7, 8, 9, 2]]), 5, 1, 1).rows]
    [[[1, 5, 6, 7, 2]], [[1, 8, 9, 2]]]
    """
    if tokens.shape[1] <= longest:
        return Windows([tokens], np.array([max(tokens.shape[1] - before - after, 1)], np.int64))
    room = longest - before - after
    if room < 1:
        return None
    end = tokens.shape[1] - after
    step = room - room // OVERLAP
    starts = range(before, end - room + step, step)
    head, tail = tokens[:, :before], tokens[:, end:]
    bodies = [tokens[:, start : min(start + room, end)] for start in starts]
    return Windows(
        [np.concatenate([head, body, tail], axis=1) for body in bodies],
        np.array([body.shape[1] for body in bodies], np.int64),
    )
