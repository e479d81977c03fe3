"""pyarrow, which is optional."""

from __future__ import annotations

from typing import Any

from vjaccel.errors import MissingExtra

__all__ = ["arrow"]


def arrow() -> Any:
    """The module pyarrow.

    Raises
    ------
    MissingExtra
        It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as exc:
        raise MissingExtra("reading and writing files of rows", "io") from exc
    return pyarrow
