"""What a sample of vectors looks like: in two dimensions, which rows nearly repeat each other, which have no company."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vjaccel.arrays.matching import pairs
from vjaccel.arrays.ops import topk
from vjaccel.errors import MissingExtra

__all__ = ["ALIKE", "Picture", "check_map", "pictured"]

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


def check_map() -> None:
    """Find out whether there can be a map.

    Raises
    ------
    MissingExtra
        scikit-learn is not installed.
    """
    try:
        import sklearn.decomposition  # noqa: F401  # whether it can be imported is what is asked
    except ImportError as exc:
        raise MissingExtra("the map of the report", "report") from exc


def pictured(vectors: np.ndarray) -> Picture:
    """Of at least three vectors, float64 (m, dim)."""
    # Largest number one: squares of very large ones would be infinite.
    scaled = vectors / (np.abs(vectors).max() or 1.0)
    places, shares = _flat(scaled)
    groups, closest = _groups(scaled)
    outliers, usual = _outliers(scaled)
    return Picture(places, shares, groups, closest, outliers, usual)


def _flat(vectors: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    check_map()
    from sklearn.decomposition import PCA

    whole = float(vectors.var(axis=0).sum())
    places, shares = np.zeros((len(vectors), 2)), np.zeros(2)
    # Of vectors that are all the same, up to rounding, there is nothing to be found.
    if whole > 1e-24:
        count = min(2, vectors.shape[1])
        found = PCA(count, random_state=0).fit(vectors)
        places[:, :count] = found.transform(vectors)
        shares[:count] = found.explained_variance_ratio_
    return places, (float(shares[0]), float(shares[1]))


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
