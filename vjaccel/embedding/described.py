"""An embedder in one line: its model, what it was asked, and nothing that is secret."""

from __future__ import annotations

import os
from dataclasses import fields
from reprlib import Repr

from vjaccel.embedding.providers.protocol import ProviderOptions
from vjaccel.embedding.providers.urls import shown

__all__ = ["described"]

LONGEST = 60
"""Characters of an option; prompts can be pages."""

ADDRESSES = ("base_url", "cache", "shared_limits")


def described(
    model: str, width: int | None, digest: str | None, options: ProviderOptions, others: dict[str, object]
) -> str:
    """What `repr` says of an embedder: what is known of its model, and what was asked that is not what is usual.

    Parameters
    ----------
    width, digest
        Of its vectors, and of its weights; None while they are not known.
    others : dict
        What was asked beside `options`; what is None is left out.
    """
    known = [f"width {width}"] if width is not None else []
    known += [f"weights {digest[:12]}"] if digest is not None else []
    asked = {field.name: value for field in fields(options) if (value := getattr(options, field.name)) != field.default}
    asked |= {name: value for name, value in others.items() if value is not None}
    short = Repr()
    short.maxstring = LONGEST
    parts = [*known, *(f"{name}={short.repr(_plain(name, value))}" for name, value in asked.items())]
    return f"<Embedder {model}{': ' if parts else ''}{', '.join(parts)}>"


def _plain(name: str, value: object) -> object:
    said = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(said, str | int | float):
        return type(said).__name__
    # Who asks there, and the password, are not for everybody to read.
    return shown(str(said)) if name in ADDRESSES and "://" in str(said) else said
