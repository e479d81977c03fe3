"""float32 means float32: torch's process-wide switches for coarser matrix products, off while any call of ours is inside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["full_precision", "launching", "tf32"]

FULL = ("ieee", "none")

launching = threading.Lock()
"""Held while a product of ours is given to a GPU, which takes microseconds: torch reads its switches then."""

_lock = threading.Lock()
_inside = 0
_saved: _Switches | None = None


@dataclass(frozen=True, slots=True)
class _Switches:
    """What a user had set where it was not full precision.

    Attributes
    ----------
    old : str or None
        ``torch.get_float32_matmul_precision()``; None where that is "highest", or refuses because only the newer switches,
        which torch has beside it since 2.9, are set.
    new : list of (module, str)
        The newer switches, and their values.
    """

    old: str | None
    new: list[tuple[Any, str]] = field(default_factory=list)


@contextmanager
def full_precision() -> Iterator[None]:
    """Inside it float32 products are float32's; what the user had is back when the last thread has left."""
    _enter()
    try:
        yield
    finally:
        _leave()


@contextmanager
def tf32() -> Iterator[None]:
    """Inside it, and inside `full_precision`, products on a GPU are TF32's; as before afterwards.

    torch has one switch for all threads, so it is on only while a product is launched, and other products of ours wait.
    """
    import torch

    matmul = torch.backends.cuda.matmul
    with launching:
        before = getattr(matmul, "fp32_precision", None)
        matmul.allow_tf32 = True  # sets the newer switch too; torch refuses to multiply where the two differ
        try:
            yield
        finally:
            matmul.allow_tf32 = False
            if before is not None:
                _restore(_Switches(None, [(matmul, before)]))


def _enter() -> None:
    global _inside, _saved
    with _lock:
        if not _inside:
            _saved = _lowered()
        _inside += 1


def _leave() -> None:
    global _inside, _saved
    with _lock:
        _inside -= 1
        if not _inside and _saved is not None:
            _restore(_saved)
            _saved = None


def _lowered() -> _Switches | None:
    """Set every switch to full precision; what they were, or None if they were that already."""
    import torch

    modules: tuple[Any, ...] = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    values = [(module, getattr(module, "fp32_precision", "none")) for module in modules]
    new = [(module, value) for module, value in values if value not in FULL]
    try:
        old = torch.get_float32_matmul_precision()
    except RuntimeError:
        old = "highest"
    if not new and old == "highest":
        return None
    if old != "highest":
        # By the switch that the user set: torch refuses to read it while the newer ones say something else.
        torch.set_float32_matmul_precision("highest")
    for module, _ in new:
        module.fp32_precision = "ieee"
    return _Switches(None if old == "highest" else old, new)


def _restore(saved: _Switches) -> None:
    import torch

    if saved.old is not None:
        torch.set_float32_matmul_precision(saved.old)
    for module, value in saved.new:
        # "none" takes the value of the switch above it. If that gives what was seen, it was not set here, and is not now.
        module.fp32_precision = "none"
        if module.fp32_precision != value:
            module.fp32_precision = value
