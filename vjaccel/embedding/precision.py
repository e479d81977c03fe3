"""Vectors in fewer bits, as sentence-transformers' `quantize_embeddings` makes them."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np

from vjaccel.errors import InvalidInput

__all__ = ["PRECISIONS", "Precision", "Quantizer"]

Precision: TypeAlias = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DTYPES = {"float32": np.float32, "int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}


class Quantizer:
    """From float32 vectors to their codes.

    int8, uint8: each number's place among 256 steps between the smallest and the largest that its column has in the vectors of
    `fit`. binary, ubinary: a bit for each number, set where it is above zero, eight in a byte, the first the highest.

    Parameters
    ----------
    precision : {"float32", "int8", "uint8", "binary", "ubinary"}
    calibration : array_like, shape (m, dim), optional
        At least two vectors like those to come: int8 and uint8 take their ranges from these, once and for all.

    Raises
    ------
    InvalidInput
        There is no such precision, or `calibration` is none or not needed.

    Examples
    --------
    >>> quantizer = Quantizer("uint8", calibration=[[0.0, -1.0], [1.0, 1.0]])
    >>> quantizer.codes(np.array([[0.5, 0.9]], np.float32))
    array([[127, 242]], dtype=uint8)
    >>> Quantizer("ubinary").codes(np.array([[0.5, -0.9, 0.1]], np.float32))
    array([[160]], dtype=uint8)
    """

    def __init__(self, precision: Precision, calibration: object = None) -> None:
        if precision not in PRECISIONS:
            raise InvalidInput(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
        self.precision: Precision = precision
        self.dtype = np.dtype(DTYPES[precision])
        self._ranges: tuple[np.ndarray, np.ndarray] | None = None
        self._fitted = 0
        if calibration is not None:
            self._calibrate(np.asarray(calibration, np.float32))

    @property
    def needs_ranges(self) -> bool:
        """Whether codes cannot be made before `fit` has seen vectors."""
        return self.precision in ("int8", "uint8") and self._ranges is None

    def width(self, dim: int) -> int:
        """How many codes a vector of `dim` numbers has."""
        return -(-dim // 8) if self.precision in ("binary", "ubinary") else dim

    @property
    def ranges(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The smallest and the largest number of each column, float32 (dim,), that int8 and uint8 are steps between."""
        return self._ranges

    def fit(self, vectors: np.ndarray) -> None:
        """Widen the ranges to those of some vectors, float32 (n, dim); more may come."""
        if not len(vectors):
            return
        low, high = vectors.min(axis=0), vectors.max(axis=0)
        if self._ranges is not None:
            low, high = np.minimum(low, self._ranges[0]), np.maximum(high, self._ranges[1])
        self._ranges = low, high
        self._fitted += len(vectors)

    def codes(self, vectors: np.ndarray, ok: np.ndarray | None = None) -> np.ndarray:
        """The codes, shape (n, width), of vectors, float32 (n, dim); zeros where `ok` is False.

        Raises
        ------
        InvalidInput
            Ranges are needed, and come from fewer than two vectors or from vectors of another width.
        """
        if self.precision == "float32":
            return vectors
        if ok is not None and not ok.all():
            found = np.zeros((len(vectors), self.width(vectors.shape[1])), self.dtype)
            if ok.any():
                found[ok] = self.codes(vectors[ok])
            return found
        if self.precision in ("binary", "ubinary"):
            bits = np.packbits(vectors > 0, axis=1)
            # Signed ones are the same bytes moved down by 128.
            return bits if self.precision == "ubinary" else (bits ^ 0x80).view(np.int8)
        steps = self._steps(vectors)
        return steps if self.precision == "uint8" else (steps ^ 0x80).view(np.int8)

    def _steps(self, vectors: np.ndarray) -> np.ndarray:
        if not len(vectors):
            return np.empty(vectors.shape, np.uint8)
        if self._ranges is None or self._fitted < 2:
            raise InvalidInput(
                f"precision {self.precision!r} takes its ranges from the vectors, and {self._fitted} are too few: "
                "embed more texts at once, or give calibration="
            )
        low, high = self._ranges
        if len(low) != vectors.shape[1]:
            raise InvalidInput(f"calibration has vectors of width {len(low)}, and the model's have {vectors.shape[1]}")
        step = (high - low) / np.float32(255)
        step[step == 0] = 1
        steps: np.ndarray = np.clip(np.floor((vectors - low) / step), 0, 255).astype(np.uint8)
        return steps

    def _calibrate(self, calibration: np.ndarray) -> None:
        if self.precision not in ("int8", "uint8"):
            raise InvalidInput(f"calibration= is for int8 and uint8, and precision is {self.precision!r}")
        if calibration.ndim != 2 or len(calibration) < 2 or not np.isfinite(calibration).all():
            raise InvalidInput(
                f"calibration is at least two vectors without NaN, an array (m, dim), not one of shape {calibration.shape}"
            )
        self.fit(calibration)
