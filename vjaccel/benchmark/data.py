"""What is computed on: made by seeds, and other numbers in every call, so that no remembered result is one.

The rows are a file in the run's folder, written once and read by every subject. Both sides make the rest by its number.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from vjaccel.benchmark.cases import floating
from vjaccel.benchmark.results import Case

__all__ = ["base", "block", "places", "texts", "write_rows"]

SAME = 20
"""One row in so many is a copy of another, as texts that occur twice are."""

CENTRES = 500
CHECK_WORK = 4e9
"""Multiplications for which a result is checked; of a larger one rows are drawn, others every time."""

CHECK_NUMBERS = 1 << 21


def write_rows(folder: Path, dim: int, rows: int, *, clustered: bool) -> None:
    """Write the rows that all cases of a width have a beginning of: unit vectors, in all directions or in clusters."""
    rng = np.random.default_rng([7, dim, clustered])
    made = rng.standard_normal((rows, dim), dtype=np.float32)
    if clustered:
        made = _around(rng, made, dim)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    if not clustered:
        made[SAME - 1 :: SAME] = made[7 % rows]
    np.save(_file(folder, dim, clustered), made)


def base(folder: Path, case: Case, *, copied: bool = True) -> np.ndarray | None:
    """What stays between calls: the corpus, or the right operand. None where an operation has but one operand.

    Copied into ordinary memory to be computed on, as a user's array is; a map of the file is enough to check by.
    """
    if case.operation == "pairs":
        return None
    rows = np.load(_file(folder, case.shape["dim"], _is_clustered(case)), mmap_mode="r")[: case.shape["rows"]]
    return np.array(rows, dtype=floating(case.dtype)) if copied else rows


def block(case: Case, rows: np.ndarray | None, number: int) -> np.ndarray:
    """What the call of that number is given: queries, a left operand, or all rows. `rows` is the file's map."""
    rng = np.random.default_rng([number, zlib.crc32(case.id.encode())])
    dim, dtype = case.shape["dim"], floating(case.dtype)
    if rows is None:
        return rng.standard_normal((case.shape["rows"], dim), dtype=np.float32).astype(dtype)
    if case.operation == "normalize":
        moved: np.ndarray = rows + rng.standard_normal(dim, dtype=np.float32)
        return moved.astype(dtype, copy=False)
    noise = rng.standard_normal((case.shape["queries"], dim), dtype=np.float32)
    made: np.ndarray
    if _is_clustered(case):
        made = _around(rng, noise, dim)
    elif case.operation in ("similarity", "distance"):
        made = noise
    else:
        # Near a row: what is searched for is mostly there.
        made = rows[rng.integers(0, len(rows), len(noise))] + np.float32(0.02) * noise
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made.astype(dtype, copy=False)


def places(case: Case, draw: int) -> np.ndarray:
    """The rows of a result that are checked: all, or as many as `CHECK_WORK` allows, by a number that nobody foresees."""
    n = case.shape.get("queries", case.shape["rows"])
    if case.operation == "pairs":
        return np.arange(n)
    each = float(case.shape["dim"]) if case.operation == "normalize" else case.shape["rows"] * float(case.shape["dim"])
    each *= 8 if case.metric == "manhattan" else 1
    numbers = case.shape["dim"] if case.operation == "normalize" else case.shape["rows"]
    most = min(n, max(8, int(CHECK_WORK / each)), max(8, CHECK_NUMBERS // numbers))
    return np.sort(np.random.default_rng(draw).permutation(n)[:most])


def texts(count: int, number: int) -> list[str]:
    """Texts of words that most vocabularies have, lengths log-normal around 20 words.

    Those of another number are the same words in another order: other vectors, as many tokens.
    """
    same, other = np.random.default_rng(count), np.random.default_rng([number, count])
    lengths = np.clip(same.lognormal(np.log(20), 0.7, count), 1, 200).astype(int)
    return [" ".join(WORDS[i] for i in other.permutation(same.integers(0, len(WORDS), n))) for n in lengths]


def _around(rng: np.random.Generator, noise: np.ndarray, dim: int) -> np.ndarray:
    """Points around the same centres for rows and queries: closer to some than to others, as embeddings are."""
    centres = np.random.default_rng([11, dim]).standard_normal((CENTRES, dim), dtype=np.float32)
    made: np.ndarray = centres[rng.integers(0, CENTRES, len(noise))] + np.float32(0.6) * noise
    return made


def _is_clustered(case: Case) -> bool:
    return case.operation == "quantized"


def _file(folder: Path, dim: int, clustered: bool) -> Path:
    return folder / f"{'clustered' if clustered else 'rows'}-{dim}.npy"


WORDS = """
    the of and a to in is it for on with as by that from at this be are was or an have not which their has can other
    water light small large made people time place form house river stone metal paper music animal plant flower tree
    city country road ship horse field summer winter night morning color sound heat cold machine engine power letter
    word story history science number measure body hand head heart blood food bread milk salt sugar oil fire move
    carry hold open close begin end turn fall rise grow build break cut write read speak hear see find give take
""".split()  # noqa: SIM905  # a list of a hundred literals reads worse
