"""How devices are spelled. No library is asked for any here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from vjaccel.errors import InvalidInput

__all__ = ["are_several", "listed", "spelled"]

ALL = "all"


def spelled(device: str) -> str:
    """A device in the common spelling: ``cuda:1`` and ``rocm:1`` are ``gpu:1``; ``cuda`` is ``gpu``; ``cpu:0`` is ``cpu``.

    Raises
    ------
    InvalidInput
        It is none of cpu, cpu:N, gpu, gpu:N, mps, nor a native name of those.
    """
    match = re.fullmatch(r"(cpu|gpu|cuda|rocm|mps)(?::(\d+))?", device)
    if not match:
        raise InvalidInput(f"device {device!r} is none of 'cpu', 'gpu', 'gpu:N', 'gpu:N,M', 'mps'")
    kind, number = match.groups()
    if kind == "mps" or (kind == "cpu" and int(number or 0) == 0):
        return kind
    kind = "cpu" if kind == "cpu" else "gpu"
    return kind if number is None else f"{kind}:{int(number)}"


def are_several(device: str) -> bool:
    """Whether `device` is a list, or asks for all of a kind."""
    return "," in device or device.strip().lower().endswith(f":{ALL}")


def listed(device: str, seen: Callable[[], Sequence[str]]) -> tuple[str, ...]:
    """The devices of a list such as ``gpu:0,1,cpu`` or ``gpu:all``, each in the common spelling.

    Parameters
    ----------
    device : str
        A number alone is one of the kind before it.
    seen : callable
        The devices that there are, for ``all``; where there is none of that kind, the first one is named, to be refused.

    Raises
    ------
    InvalidInput
        It is no such list, or names one device twice.

    Examples
    --------
    >>> listed("gpu:0,1,cpu", list), listed("cuda:all", lambda: ["gpu:0", "gpu:1", "cpu"])
    (('gpu:0', 'gpu:1', 'cpu'), ('gpu:0', 'gpu:1'))
    """
    found: list[str] = []
    kind = ""
    for part in device.lower().split(","):
        first, _, number = part.strip().rpartition(":")
        # The first number has a kind before it, and what comes after it may have.
        kind, number = (first, number) if first else (kind, number) if number.isdecimal() else (number, "0")
        if not kind or not (number.isdecimal() or number == ALL):
            raise InvalidInput(f"device {device!r} is not several as in 'gpu:0,1', a kind and then numbers")
        if number == ALL:
            found += [one for one in seen() if _kind(one) == _kind(spelled(kind))] or [spelled(f"{kind}:0")]
        else:
            found.append(spelled(f"{kind}:{number}"))
    if len(set(found)) < len(found):
        raise InvalidInput(f"device {device!r} names one device twice; each may be named once")
    return tuple(found)


def _kind(device: str) -> str:
    return device.partition(":")[0]
