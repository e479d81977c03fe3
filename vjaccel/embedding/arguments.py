"""What a run is asked, checked before it begins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from vjaccel.errors import InvalidInput, InvalidType

__all__ = [
    "OnError",
    "check_latency",
    "check_on_error",
    "check_out",
    "check_whole",
    "checked_most",
    "checked_prompt",
    "checked_texts",
]

OnError = Literal["raise", "collect"]


def checked_texts(texts: Iterable[Any]) -> Iterable[Any]:
    """`texts`, if it is an iterable of them and not one."""
    if isinstance(texts, str | bytes):
        raise InvalidInput("texts is one text; give a list of texts, or call embed_query or embed_document")
    if not isinstance(texts, Iterable):
        raise InvalidType(f"texts is an iterable of str, not {type(texts).__name__}")
    return texts


def checked_prompt(prompt: str | None) -> str | None:
    """`prompt`, if it is one or None."""
    if prompt is not None and not isinstance(prompt, str):
        raise InvalidType(f"prompt is a str, not {type(prompt).__name__}")
    return prompt


def check_on_error(on_error: str) -> None:
    """Refuse what is neither of the two."""
    if on_error not in ("raise", "collect"):
        raise InvalidInput(f"on_error is 'raise' or 'collect', not {on_error!r}")


def checked_most(max_errors: int | None) -> int | None:
    """`max_errors`, if it is a number of texts or None."""
    if max_errors is not None and (not isinstance(max_errors, int) or isinstance(max_errors, bool) or max_errors < 0):
        raise InvalidInput(f"max_errors must be a whole number of at least 0, not {max_errors!r}")
    return max_errors


def check_whole(name: str, value: object) -> None:
    """Refuse what is no whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"{name} must be a whole number of at least 1, not {value!r}")


def check_latency(max_latency: float | None) -> None:
    """Refuse what is no number of seconds."""
    if max_latency is not None and not (isinstance(max_latency, int | float) and max_latency >= 0):
        raise InvalidInput(f"max_latency is in seconds, at least 0, not {max_latency!r}")


def check_out(out: np.ndarray, size: int, width: int | None, *, on_device: bool) -> None:
    """Refuse an array that the vectors of `size` texts cannot be written to.

    Raises
    ------
    InvalidInput, InvalidType
    """
    if on_device:
        raise InvalidInput(
            "out is an array on the host; with backend= the vectors stay on its device: give one of them"
        )
    if not isinstance(out, np.ndarray):
        raise InvalidType(f"out is a NumPy array or memmap, not {type(out).__name__}")
    wanted = (size, out.shape[-1] if width is None and out.ndim else width)
    if out.shape != wanted or out.dtype != np.float32 or not out.flags.writeable:
        found = f"{out.dtype} {out.shape}{'' if out.flags.writeable else ', read-only'}"
        raise InvalidInput(
            f"out is a writeable float32 array ({size}, {width or 'dim'}) for these texts; it is {found}"
        )
