"""Texts that are longer than a model takes, in windows that it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Windows", "cut"]

OVERLAP = 8
"""A window begins with this part of what the one before ended with: one in eight tokens is read twice."""


@dataclass(frozen=True, slots=True)
class Windows:
    """A text in windows, each made when it is asked for: all of them would take several times what their text does.

    Attributes
    ----------
    tokens : ndarray, shape (k, n)
        All tokens of the text, in k rows that are cut alike.
    before, after : int
        How many of them, at the beginning and the end, are in each window.
    room, step : int
        How many of the text's own tokens a window holds, and how many further on the next one begins.
    count : int
        How many windows there are. A single one is the text as it is.
    """

    tokens: np.ndarray
    before: int
    after: int
    room: int
    step: int
    count: int

    def row(self, number: int) -> np.ndarray:
        """The tokens of one window, as a model takes them."""
        if self.count == 1:
            return self.tokens
        end = self.tokens.shape[1] - self.after
        start = self.before + number * self.step
        body = self.tokens[:, start : min(start + self.room, end)]
        return np.concatenate([self.tokens[:, : self.before], body, self.tokens[:, end:]], axis=1)

    @property
    def weights(self) -> np.ndarray:
        """How many of each window's tokens are the text's own, int64 (count,)."""
        own = self.tokens.shape[1] - self.before - self.after
        if self.count == 1:
            return np.array([max(own, 1)], np.int64)
        left = own - self.step * np.arange(self.count, dtype=np.int64)
        weights: np.ndarray = np.minimum(left, self.room)
        return weights

    @property
    def lengths(self) -> np.ndarray:
        """How many tokens each window has, int64 (count,)."""
        if self.count == 1:
            return np.array([self.tokens.shape[1]], np.int64)
        return self.weights + (self.before + self.after)


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
    >>> windows = cut(np.array([[1, 5, 6, 7, 8, 9, 2]]), 5, 1, 1)
    >>> [windows.row(i).tolist() for i in range(windows.count)]
    [[[1, 5, 6, 7, 2]], [[1, 8, 9, 2]]]
    """
    room = longest - before - after
    step = room - room // OVERLAP
    if tokens.shape[1] <= longest:
        return Windows(tokens, before, after, room, step, 1)
    if room < 1:
        return None
    own = tokens.shape[1] - before - after
    return Windows(tokens, before, after, room, step, 1 - (room - own) // step)
