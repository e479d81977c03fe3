"""The answers in float64, every pair, and whether a result is one: a time counts only if it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from vjaccel.benchmark.cases import threshold
from vjaccel.benchmark.results import Case

__all__ = ["Truth", "Verdict", "recall", "truth", "verdict"]

TILE = 16_384

SEARCH_TOLERANCE = 1e-6
"""For the values of a search, as DESIGN promises them: absolute for a cosine, relative for a distance."""

TOLERANCE = {"float16": 1e-3, "float32": 1e-5, "float64": 1e-12}
"""For other values, by dtype."""

PEER_TOLERANCE = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-10}
"""Peers promise nothing: a row counts as found if its score is this close to that of the one that belongs there."""


class Truth(NamedTuple):
    """The answer for some rows of a call's result; which parts it has is the operation's."""

    ids: list[np.ndarray]
    """Of a search, for each query, best first."""
    values: list[np.ndarray]
    scores: np.ndarray | None
    """Of a search, all of them, the larger the closer."""


class Verdict(NamedTuple):
    """How far a result is from float64, and why it is none, if it is not."""

    error: float | None
    refused: str | None


Found = Mapping[str, np.ndarray]


def truth(case: Case, rows: np.ndarray | None, given: np.ndarray, places: np.ndarray) -> Truth:
    """The float64 answer to the call with `given`, for the rows `places` of its result.

    `rows` may be wider than the case's dtype: they are rounded to it first, since an answer is that for the values held.
    """
    if case.operation == "pairs":
        return _closest_pairs(given, case.shape["k"])
    wanted = given[places].astype(np.float64)
    if case.operation == "normalize":
        return Truth([], list(wanted / np.linalg.norm(wanted, axis=1, keepdims=True)), None)
    assert rows is not None  # only pairs has one operand
    scores = _scores(case, wanted, rows)
    if case.operation in ("similarity", "distance"):
        return Truth([], list(_values(case.metric, scores)), None)
    ids, values = [], []
    for query, row in zip(wanted, scores, strict=True):
        best = _exact_best(case, query, row, rows)
        ids.append(best[0])
        values.append(_values(case.metric, best[1]))
    return Truth(ids, values, scores)


def verdict(case: Case, answer: Truth, found: Found, *, exact: bool) -> Verdict:
    """Whether `found` is the answer: to the id where a backend certifies it, or as near as a peer's float arithmetic."""
    if case.operation in ("normalize", "similarity", "distance"):
        return _near(case, answer, found["values"], TOLERANCE if exact else PEER_TOLERANCE)
    if case.operation == "pairs":
        return _same_pairs(case, answer, found, exact)
    return _same_rows(case, answer, found, exact)


def recall(answer: Truth, ids: np.ndarray) -> float:
    """The share of the true rows that are among `ids`."""
    return float(np.mean([np.isin(true, row).mean() for true, row in zip(answer.ids, ids, strict=True)]))


# The answers


def _scores(case: Case, wanted: np.ndarray, rows: np.ndarray) -> np.ndarray:
    scores = np.empty((len(wanted), len(rows)))
    norms = np.linalg.norm(wanted, axis=1)[:, None]
    for start in range(0, len(rows), TILE):
        tile = rows[start : start + TILE].astype(case.dtype).astype(np.float64)
        if case.metric == "manhattan":
            for i, query in enumerate(wanted):
                scores[i, start : start + TILE] = -np.abs(tile - query).sum(axis=1)
            continue
        products = wanted @ tile.T
        if case.metric == "cosine":
            products /= norms * np.linalg.norm(tile, axis=1)[None, :]
        else:
            products = -np.maximum(norms**2 + (tile * tile).sum(axis=1)[None, :] - 2 * products, 0)
        scores[:, start : start + TILE] = products
    return scores


def _values(metric: str | None, scores: np.ndarray) -> np.ndarray:
    if metric == "euclidean":
        return np.asarray(np.sqrt(-scores))
    return scores if metric == "cosine" else -scores


def _exact_best(case: Case, query: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best rows of one query. Scored again one by one: a matrix product gives equal rows unequal scores."""
    if case.operation == "within":
        candidates = np.nonzero(scores >= threshold(case) - 1e-9)[0]
    else:
        k = case.shape["k"]
        candidates = np.nonzero(scores >= np.partition(scores, -k)[-k] - 1e-9)[0]
    near = rows[candidates].astype(case.dtype).astype(np.float64)
    if case.metric == "cosine":
        again = (near * query).sum(axis=1) / (np.sqrt((near * near).sum(axis=1)) * np.sqrt((query * query).sum()))
    else:
        again = -((near - query) ** 2).sum(axis=1)
    order = np.lexsort((candidates, -again))
    order = order[again[order] >= threshold(case)] if case.operation == "within" else order[: case.shape["k"]]
    return candidates[order], again[order]


def _closest_pairs(rows: np.ndarray, k: int) -> Truth:
    wide = rows.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    left, right, best = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    for start in range(0, len(wide), 1024):
        scores = wide[start : start + 1024] @ wide[start:].T
        scores[np.tril_indices(len(scores), 0, scores.shape[1])] = -np.inf
        flat = scores.ravel()
        places = np.argpartition(-flat, min(k, len(flat) - 1))[:k]
        i, j = np.unravel_index(places, scores.shape)
        left, right = np.concatenate([left, i + start]), np.concatenate([right, j + start])
        best = np.concatenate([best, flat[places]])
        order = np.lexsort((right, left, -best))[:k]
        left, right, best = left[order], right[order], best[order]
    return Truth([left, right], [best], wide)


# The checks


def _near(case: Case, answer: Truth, found: np.ndarray, tolerances: dict[str, float]) -> Verdict:
    expected = np.stack(answer.values)
    if found.shape != expected.shape:
        return Verdict(None, f"its result has the shape {found.shape} where {expected.shape} belongs")
    error = np.abs(found.astype(np.float64) - expected)
    if case.operation == "distance":
        error = error / np.where(expected == 0, 1, np.abs(expected))
    return _within_tolerance(float(error.max(initial=0.0)), tolerances[case.dtype])


def _within_tolerance(error: float, tolerance: float) -> Verdict:
    if error <= tolerance:
        return Verdict(error, None)
    return Verdict(
        error if np.isfinite(error) else None, f"its values are off by {error:.1e}, and may be by {tolerance:.0e}"
    )


def _same_pairs(case: Case, answer: Truth, found: Found, exact: bool) -> Verdict:
    left, right, values = found["left"], found["right"], found["values"]
    if not len(left) == len(right) == len(values) == case.shape["k"]:
        return Verdict(None, f"it found {len(left)} pairs where {case.shape['k']} belong")
    if exact:
        wrong = int(((left != answer.ids[0]) | (right != answer.ids[1])).sum())
        if wrong:
            return Verdict(None, f"{wrong} of {len(left)} pairs are not those of float64")
        return _within_tolerance(float(np.abs(values - answer.values[0]).max()), SEARCH_TOLERANCE)
    wide = answer.scores
    assert wide is not None  # the truth of pairs keeps its rows there
    scores = np.sort((wide[left] * wide[right]).sum(axis=1))[::-1]
    return _within_tolerance(float(np.abs(scores - answer.values[0]).max()), PEER_TOLERANCE[case.dtype])


def _same_rows(case: Case, answer: Truth, found: Found, exact: bool) -> Verdict:
    ids, values = _by_query(found)
    if len(ids) != len(answer.ids):
        return Verdict(None, f"it answered {len(ids)} queries of {len(answer.ids)}")
    if not exact:
        return _close_rows(case, answer, ids)
    wrong = sum(not np.array_equal(a, b) for a, b in zip(ids, answer.ids, strict=True))
    if wrong:
        return Verdict(None, f"the ids of {wrong} of {len(ids)} queries are not those of float64")
    got, expected = np.concatenate(values).astype(np.float64), np.concatenate(answer.values)
    error = np.abs(got - expected)
    if case.metric != "cosine":
        error = error / np.where(expected == 0, 1, np.abs(expected))
    return _within_tolerance(float(error.max(initial=0.0)), SEARCH_TOLERANCE)


def _close_rows(case: Case, answer: Truth, ids: list[np.ndarray]) -> Verdict:
    """A peer's rows, by their scores: equal ones may come in any order."""
    tolerance, worst = PEER_TOLERANCE[case.dtype], 0.0
    assert answer.scores is not None  # a search's truth has them
    for found, true, scores in zip(ids, answer.ids, answer.scores, strict=True):
        if len(np.unique(found)) != len(found) or (found < 0).any() or (found >= len(scores)).any():
            return Verdict(None, "it names a row twice, or one that is not there")
        if case.operation == "within":
            sure = np.nonzero(scores > threshold(case) + tolerance)[0]
            if not np.isin(sure, found).all():
                return Verdict(None, "it misses rows that reach the threshold")
            worst = max(worst, float((threshold(case) - scores[found]).max(initial=0.0)))
            continue
        if len(found) != len(true):
            return Verdict(None, f"it found {len(found)} rows where {len(true)} belong")
        worst = max(worst, float((np.sort(scores[true]) - np.sort(scores[found])).max(initial=0.0)))
    return _within_tolerance(worst, tolerance)


def _by_query(found: Found) -> tuple[list[np.ndarray], list[np.ndarray]]:
    if "offsets" in found:
        cuts = found["offsets"][1:-1]
        return np.split(found["ids"], cuts), np.split(found["values"], cuts)
    return list(found["ids"]), list(found["values"])
