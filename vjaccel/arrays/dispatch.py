"""Choosing a backend from where the data is, and moving data there and back.

The order: the call's argument, then `use_backend`, then the library that device arrays already belong to, then, for host
arrays alone, `set_backend`, ``VJACCEL_BACKEND`` and ``auto``. So a process-wide default pulls nothing off a device.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from vjaccel.arrays import auto, registry
from vjaccel.arrays.protocol import Array, Backend
from vjaccel.errors import InvalidInput, InvalidType
from vjaccel.telemetry import NOTHING, heard, operation

__all__ = ["Choice", "at_work", "choose", "home_of", "host_array", "is_at", "move", "told"]

logger = logging.getLogger("vjaccel.arrays")

Home = tuple[type[Backend], str]
"""Where a device array lives: its backend's class and its device. A host array's home is None."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a call computes, and where its result goes."""

    backend: Backend
    home: Home | None
    named: bool
    """Whether a person named the backend, so that it may pull arrays off another device."""

    def returned(self, x: Array) -> Array:
        """`x`, an array of the backend, as an array of the library and device that the result belongs to."""
        if self.home is None:
            return self.backend.to_numpy(x)
        cls, device = self.home
        if isinstance(self.backend, cls) and self.backend.device == device:
            return x
        return move(x, registry.get_backend(f"{cls.name}:{device}"), self.backend)

    def taken(self, x: np.ndarray, dtype: str) -> Array:
        """`x`, an array that was put together on the host, as the result belongs: in `dtype`, if that is not the host."""
        if self.home is None:
            return x
        with self.backend.on_device(), self.backend.float64():
            found = self.backend.asarray(x.astype(dtype, copy=False))
        return self.returned(found)


class at_work:  # noqa: N801  # used as a function, like np.errstate
    """Computing on the backend's device, without NumPy's warnings: what overflows or is NaN is defined by `ops`.

    With the name of an operation it is that operation, for whoever listens.

    A class, because `contextlib.contextmanager` takes a tenth of a small call's time.
    """

    __slots__ = ("_device", "_errors", "_told")

    def __init__(self, backend: Backend, operation: str | None = None) -> None:
        self._errors, self._device = np.errstate(all="ignore"), backend.on_device()
        self._told = told(operation, backend) if operation is not None and heard() else None

    def __enter__(self) -> None:
        self._device.__enter__()  # first: where it fails, nothing has to be put back
        self._errors.__enter__()
        if self._told is not None:
            self._told.__enter__()

    def __exit__(self, *failure: Any) -> None:
        if self._told is not None:
            self._told.__exit__(*failure)
        self._errors.__exit__(*failure)
        self._device.__exit__(*failure)


def told(name: str, backend: Backend) -> AbstractContextManager[None]:
    """What an operation of a backend is done inside of, for whoever listens."""
    return operation(name, f"{backend.name}:{backend.device}") if heard() else NOTHING


def choose(spec: str | Backend | None, operands: dict[str, object], operation: str | None = None) -> Choice:
    """The backend for a call on `operands` (argument name -> value); the first operand is whose library the result has.

    `operation` is what `auto` weighs host arrays by; without it they stay NumPy's.

    Raises
    ------
    InvalidType
        Arrays of two device libraries, or on two devices, and no backend is named.
    """
    if spec is None and registry.chosen() is None and all(type(x) is np.ndarray for x in operands.values()):
        return Choice(auto.for_host(operation, operands), None, named=False)
    homes = {name: home_of(x) for name, x in operands.items()}
    first = next(iter(homes.values()))
    if spec is not None and not isinstance(spec, str) and not hasattr(spec, "on_device"):
        raise InvalidType(f"backend is a string such as 'numpy' or 'jax:gpu', or a backend, not {type(spec).__name__}")
    elsewhere = {name: home for name, home in homes.items() if home is not None}
    if spec == "auto" and not elsewhere:
        return Choice(auto.decided(operation, operands), None, named=False)
    named = registry.get_backend(spec) if isinstance(spec, str) else spec or registry.chosen()
    if named is not None:
        return Choice(named, first, named=True)
    if not elsewhere:
        return Choice(auto.for_host(operation, operands), None, named=False)
    backends = {registry.get_backend(f"{cls.name}:{device}") for cls, device in set(elsewhere.values())}
    # What is on one of several devices is where that is which lies on all of them.
    common = next((backend for backend in backends if all(is_at(backend, x) for x in elsewhere.values())), None)
    if common is None:
        raise InvalidType(_two_homes(elsewhere))
    return Choice(common, first, named=False)


def is_at(backend: Backend, home: Home) -> bool:
    """Whether an array that lives there is on the device of `backend`, or on one of its several."""
    cls, device = home
    return isinstance(backend, cls) and device in (backend.device, *(member.device for member in backend.members))


def home_of(x: object) -> Home | None:
    """Where the device array `x` lives; None for a host array, a list, or anything that is no backend's."""
    if type(x) is np.ndarray:
        return None
    cls = registry.owner_of(x)
    return None if cls is None else (cls, cls.device_of(x))


def move(x: Array, target: Backend, source: Backend | None = None) -> Array:
    """`x` on the device of `target`, by DLPack where both can, else over the host."""
    home = home_of(x)
    if home is None or isinstance(target, home[0]):
        return target.asarray(x)
    try:
        return target.asarray(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as exc:
        logger.debug("%s cannot take %s by DLPack (%s): over the host", target, type(x).__name__, exc)
    source = source or registry.get_backend(f"{home[0].name}:{home[1]}")
    return target.asarray(source.to_numpy(x))


def host_array(name: str, x: object) -> np.ndarray:
    """A list, or anything that NumPy takes, as a NumPy array.

    Raises
    ------
    InvalidInput
        Rows of different widths.
    InvalidType
        A masked array.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise InvalidType(f"{name} is a masked array, whose mask would be lost: give its data, and topk's mask=")
    try:
        return np.asarray(x)
    except ValueError as exc:
        widths = _widths(x)
        shown = f" ({', '.join(map(str, widths))})" if widths else ""
        raise InvalidInput(f"{name} is not an array: its rows have different widths{shown}") from exc


def _widths(x: object) -> list[int]:
    try:
        return sorted({len(row) for row in x})  # type: ignore[attr-defined]  # whatever it is, this only describes it
    except TypeError:
        return []


def _two_homes(homes: dict[str, Home]) -> str:
    shown = ", ".join(f"{name} on {cls.name}:{device}" for name, (cls, device) in homes.items())
    names = list(homes)
    cls, device = homes[names[0]]
    spec = f"{cls.name}:{device}"
    return (
        f"the arrays of one call live in two places: {shown}; nothing leaves a device unasked. Convert one, "
        f"as in vjaccel.get_backend({spec!r}).asarray({names[-1]}), or name the backend: backend={spec!r}"
    )
