"""Which vectors of a remote service's reply can be used: what is wrong with one is no reason to pay for the others again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vjaccel.embedding.limits import BadReply

__all__ = ["Usable", "usable_of"]


class Usable(NamedTuple):
    """The vectors of a reply.

    Attributes
    ----------
    vectors : ndarray of float32, shape (n, dim)
        NaN where there is none that can be used.
    unusable : dict of int to (str, str)
        Of those, the code and message of the error that makes.
    """

    vectors: np.ndarray
    unusable: dict[int, tuple[str, str]]


def usable_of(vectors: Sequence[Any], width: int | None) -> Usable:
    """What there is of `vectors`, each one a sequence of numbers unless it is none; `width` is theirs, if it is known.

    Raises
    ------
    BadReply
        There is none, or no width that most of them have.

    Examples
    --------
    >>> usable_of([[1.0, 2.0], None], None).unusable
    {1: ('INVALID_REPLY', 'it was answered with no vector')}
    """
    try:
        whole = np.asarray(vectors, np.float32)
    except (TypeError, ValueError):
        whole = np.empty(0, np.float32)
    if whole.ndim == 2 and whole.size:
        return Usable(whole, {})
    rows = [_row(vector) for vector in vectors]
    widths = Counter(len(row) for row in rows if row is not None)
    if not widths:
        raise BadReply(f"{len(vectors)} texts were answered with what are no vectors")
    if width is None or width not in widths:
        width, most = widths.most_common(1)[0]
        if 2 * most <= widths.total():
            raise BadReply(f"{len(vectors)} texts were answered with vectors of widths {', '.join(map(str, widths))}")
    found, unusable = np.full((len(rows), width), np.nan, np.float32), {}
    for i, row in enumerate(rows):
        if row is None:
            unusable[i] = "INVALID_REPLY", "it was answered with no vector"
        elif len(row) != width:
            unusable[i] = "DIMENSION_MISMATCH", f"its vector has width {len(row)}, not {width}"
        else:
            found[i] = row
    return Usable(found, unusable)


def _row(vector: Any) -> np.ndarray | None:
    try:
        row = np.asarray(vector, np.float32)
    except (TypeError, ValueError):
        return None
    return row if row.ndim == 1 and len(row) else None
