"""What a sample of vectors looks like: in two dimensions, which rows nearly repeat each other, which have no company."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vjaccel.arrays.matching import pairs
from vjaccel.arrays.ops import topk

__all__ = ["ALIKE", "Picture", "pictured"]

ALIKE = 0.95
"""The cosine from which on two rows are near duplicates."""

COMPANY = 5
"""Neighbours that a row's distance from the others is measured by."""

APART = 3.0
"""Standard deviations by which that must exceed the usual."""

FEWEST = 20
"""Rows below which nothing is said of outliers."""

PAIRS = 200_000
"""Pairs of near duplicates that are looked at, the closest; a sample of one vector alone would have two million."""


@dataclass(frozen=True)
class Picture:
    """Of rows (m, dim).

    Attributes
    ----------
    places : ndarray, shape (m, 2)
        Their first two principal components.
    shares : (float, float)
        Of the variance, that each of the two has.
    groups : list of list of int
        Near duplicates, the largest group first; each has one of at least `ALIKE` in its group.
    closest : list of float
        The highest cosine in each group.
    outliers : list of (int, float)
        Rows far from all others, with their mean cosine to the nearest.
    usual : float or None
        That of all rows.
    """

    places: np.ndarray
    shares: tuple[float, float]
    groups: list[list[int]]
    closest: list[float]
    outliers: list[tuple[int, float]]
    usual: float | None


def pictured(vectors: np.ndarray) -> Picture:
    """Of at least three vectors, float64 (m, dim)."""
    # Largest number one: squares of very large ones would be infinite.
    scaled = vectors / (np.abs(vectors).max() or 1.0)
    places, shares = _flat(scaled)
    groups, closest = _groups(scaled)
    outliers, usual = _outliers(scaled)
    return Picture(places, shares, groups, closest, outliers, usual)


def _flat(vectors: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Principal components by NumPy: importing scikit-learn for them took longer than all else of a report."""
    centred = vectors - vectors.mean(axis=0)
    whole = float((centred**2).sum())
    places, shares = np.zeros((len(vectors), 2)), np.zeros(2)
    # Of vectors that are all the same, up to rounding, there is nothing to be found.
    if whole > 1e-24 * len(vectors):
        for i, axis in enumerate(_axes(centred)):
            places[:, i] = centred @ axis
            shares[i] = (places[:, i] ** 2).sum() / whole
    return places, (float(shares[0]), float(shares[1]))


def _axes(centred: np.ndarray) -> list[np.ndarray]:
    """The two directions of the most variance, or one of vectors of width one; by the smaller of the two products."""
    wide = centred.shape[1] > len(centred)
    values, directions = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    axes = []
    for value, direction in zip(values[:-3:-1], directions.T[:-3:-1], strict=True):
        if value <= 1e-10 * values[-1]:  # rounding has no direction of its own
            continue
        axis = centred.T @ direction if wide else direction
        axis = axis / (np.linalg.norm(axis) or 1.0)
        axes.append(axis * (np.sign(axis[np.abs(axis).argmax()]) or 1.0))  # whose sign is free: the same each time
    return axes


def _groups(vectors: np.ndarray) -> tuple[list[list[int]], list[float]]:
    found = pairs(vectors, k=PAIRS, threshold=ALIKE, metric="cosine")
    parent = np.arange(len(vectors))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    best: dict[int, float] = {}
    for left, right, value in zip(found.left.tolist(), found.right.tolist(), found.values.tolist(), strict=True):
        for i in (left, right):
            best.setdefault(i, value)
        parent[root(right)] = root(left)
    groups: dict[int, list[int]] = {}
    for i in sorted(best):
        groups.setdefault(root(i), []).append(i)
    largest = sorted(groups.values(), key=lambda group: (-len(group), group))
    return largest, [max(best[i] for i in group) for group in largest]


def _outliers(vectors: np.ndarray) -> tuple[list[tuple[int, float]], float | None]:
    if len(vectors) < FEWEST:
        return [], None
    found = topk(vectors, vectors, k=COMPANY + 1, metric="cosine")
    numbers = np.arange(len(vectors))[:, None]
    # A row is its own neighbour, but not always the first: copies of it come before by their index.
    others = found.indices != numbers
    others[others.all(axis=1), -1] = False
    near = found.values[others].reshape(len(vectors), COMPANY).mean(axis=1)
    spread = float(near.std())
    far = np.flatnonzero(near < near.mean() - APART * spread) if spread > 1e-9 else np.empty(0, np.int64)
    order = far[np.argsort(near[far], kind="stable")]
    return [(int(i), float(near[i])) for i in order], float(near.mean())
