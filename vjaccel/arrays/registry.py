"""Which backends there are, and which one a spec names.

Backends come through the entry-point group ``vjaccel.backends``; nothing here knows one by name, but for the default. A
spec is ``name[:device]``, ``gpu`` for any backend with one, or ``auto``; a device may be several, as in ``jax:gpu:0,1``.
"""

from __future__ import annotations

import difflib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Literal

from vjaccel.arrays.devices import are_several, listed, spelled
from vjaccel.arrays.protocol import Backend
from vjaccel.errors import BackendUnavailable, InvalidInput, InvalidType, UnknownBackend

__all__ = [
    "DEFAULT",
    "BackendInfo",
    "backend_class",
    "backends",
    "chosen",
    "configured",
    "get_backend",
    "gpu_install",
    "owner_of",
    "refresh",
    "set_backend",
    "use_backend",
]

logger = logging.getLogger("vjaccel.arrays")

GROUP = "vjaccel.backends"
DEFAULT = "numpy"
ENVIRONMENT = "VJACCEL_BACKEND"

_block: ContextVar[Backend | None] = ContextVar("vjaccel_backend", default=None)
_process: Backend | Literal["auto"] | None = None
_instances: dict[tuple[str, str], Backend] = {}
_lock = threading.RLock()


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """One row of `backends`.

    Attributes
    ----------
    name : str
    version : str or None
        Of the array library; None where it is not installed.
    devices : tuple of str or None
        Those that work, the preferred first; None where nobody looked.
    usable : bool or None
        None where nobody looked.
    reason : str or None
        Why it is not usable, or what a user should know of it.
    install : str or None
        The command that installs what is missing.
    """

    name: str
    version: str | None
    devices: tuple[str, ...] | None
    usable: bool | None
    reason: str | None
    install: str | None


def backends(*, probe: bool = True) -> list[BackendInfo]:
    """Every registered backend, and whether it works here.

    Parameters
    ----------
    probe : bool
        Import the installed ones, and ask them for their devices. Otherwise only metadata is read.

    Examples
    --------
    >>> [row.name for row in backends(probe=False)]
    ['cupy', 'jax', 'numpy', 'torch']
    """
    return [_info(name, probe) for name in sorted(_entry_points())]


def get_backend(spec: str | None = None) -> Backend:
    """The backend that `spec` names, or the one a call on host arrays would use.

    Parameters
    ----------
    spec : str, optional
        ``name[:device]`` such as ``jax``, ``torch:cpu``, ``cupy:gpu:1``; ``gpu``; ``auto``. Several devices of one library,
        as ``torch:gpu:0,1,2`` or ``torch:gpu:all``: a `Corpus` is cut over them and searched on all at once; all else is
        done on the first.

    Raises
    ------
    UnknownBackend
        Nobody registers that name.
    BackendUnavailable
        It is not installed, has no such device, or its library fails.
    """
    return chosen() or _default() if spec is None else _resolve(spec)


def set_backend(spec: str | None) -> None:
    """Use a backend for host arrays in the whole process; None goes back to ``VJACCEL_BACKEND`` or `auto`.

    Raises
    ------
    UnknownBackend, BackendUnavailable
        As `get_backend`.
    """
    global _process
    _process = "auto" if spec == "auto" else None if spec is None else _resolve(spec)


@contextmanager
def use_backend(spec: str) -> Iterator[Backend]:
    """Use a backend inside a block, in this thread or task alone.

    Raises
    ------
    UnknownBackend, BackendUnavailable
        As `get_backend`.

    Examples
    --------
    >>> with use_backend("numpy") as backend:
    ...     backend.name
    'numpy'
    """
    backend = _resolve(spec)
    token = _block.set(backend)
    try:
        yield backend
    finally:
        _block.reset(token)


def refresh() -> None:
    """Look again at what is installed, as after an installation in a running process."""
    _entry_points.cache_clear()
    _owner_by_module.cache_clear()
    with _lock:
        for key in [key for key in _instances if key[0] not in _entry_points()]:
            del _instances[key]


def chosen() -> Backend | None:
    """The backend of the `use_backend` block that this code is in."""
    return _block.get()


def configured() -> tuple[Backend, str] | None:
    """The backend that `set_backend` or the environment names for host arrays, and which of them; None: `auto` decides."""
    if _process is not None:
        return None if _process == "auto" else (_process, "set_backend")
    spec = os.environ.get(ENVIRONMENT) or "auto"
    return None if spec.strip().lower() == "auto" else (_resolve(spec), f"{ENVIRONMENT}={spec}")


def gpu_install(name: str) -> str | None:
    """The command that gives a backend's library its GPU build, where the backend knows one."""
    line: str | None = getattr(backend_class(name), "gpu_install", None)
    return line


def owner_of(x: object) -> type[Backend] | None:
    """The class of the backend whose library `x` is an array of; None for a host array and anything else."""
    modules = (kind.__module__.partition(".")[0] for kind in type(x).__mro__)
    return next((owner for owner in map(_owner_by_module, modules) if owner is not None), None)


def backend_class(name: str) -> type[Backend]:
    """The class registered under `name`. Imports the backend's module, not its library.

    Raises
    ------
    UnknownBackend
        Nobody registers that name.
    BackendUnavailable
        The backend's own module fails to import, or several distributions register that name.
    """
    entries = _entry_points().get(name)
    if entries is None:
        raise UnknownBackend(_unknown(name))
    if len(entries) > 1:
        both = " and ".join(f"{e.dist.name if e.dist else '?'} ({e.value})" for e in entries)
        reason = f"several distributions register it, uninstall all but one: {both}"
        raise BackendUnavailable(f"backend {name!r} is unavailable: {reason}", reason=reason)
    try:
        loaded: type[Backend] = entries[0].load()
    except Exception as exc:
        reason = f"its module fails to import: {type(exc).__name__}: {exc}"
        raise BackendUnavailable(f"backend {name!r} is unavailable: {reason}", reason=reason) from exc
    return loaded


def _default() -> Backend:
    known = configured()
    return known[0] if known else _resolve(DEFAULT)


def _resolve(spec: str) -> Backend:
    if not isinstance(spec, str):
        raise InvalidType(f"backend is a string such as 'numpy' or 'jax:gpu', not {type(spec).__name__}")
    name, _, device = spec.strip().lower().partition(":")
    if name == "auto":
        # Nothing is known of the work here, so a GPU is not taken: that is decided where a call is (`auto`).
        name = DEFAULT
    if name == "gpu":
        return _any_gpu(spec.strip().lower())
    known = _instances.get((name, device))
    return known or (_several(name, device) if are_several(device) else _create(name, device))


def _create(name: str, device: str) -> Backend:
    cls = backend_class(name)
    wanted = spelled(device) if device else None
    devices = _devices(name, cls)
    if wanted == "gpu":
        wanted = next((d for d in devices if d.startswith("gpu")), "gpu:0")
    wanted = wanted or devices[0]
    if wanted not in devices:
        seen = ", ".join(devices)
        raise BackendUnavailable(
            f"backend {name!r} has no device {wanted!r} here; it sees: {seen}",
            reason=f"no device {wanted!r}; seen: {seen}",
        )
    with _lock:
        backend = _instances.get((name, wanted))
        if backend is None:
            backend = _instances[(name, wanted)] = cls(wanted)
            logger.debug("backend %s:%s is ready", name, wanted)
        _instances[(name, device)] = backend
    return backend


def _several(name: str, device: str) -> Backend:
    """A backend of the first of several devices, whose members are those of all."""
    devices = listed(device, lambda: _devices(name, backend_class(name)))
    kinds = {one.partition(":")[0] for one in devices}
    if len(kinds) > 1:
        raise InvalidInput(f"device {device!r} has several kinds; an operation or a corpus is on those of one kind")
    members = tuple(_create(name, one) for one in devices)
    if len(members) == 1:
        return members[0]
    whole = f"{kinds.pop()}:{','.join(one.partition(':')[2] or '0' for one in devices)}"
    with _lock:
        backend = _instances.get((name, whole))
        if backend is None:
            backend = type(members[0])(members[0].device)
            backend.device, backend.members = whole, members
            _instances[(name, whole)] = backend
        _instances[(name, device)] = backend
    return backend


def _devices(name: str, cls: type[Backend]) -> tuple[str, ...]:
    if _installed_version(cls) is None:
        reason = f"not installed ({' or '.join(cls.requires)})"
        raise BackendUnavailable(
            f"backend {name!r} is unavailable: {reason}; {cls.install}", reason=reason, install=cls.install
        )
    try:
        devices = cls.devices()
    except Exception as exc:
        reason = f"{type(exc).__name__}: {_first_line(exc)}"
        raise BackendUnavailable(f"backend {name!r} is unavailable: {reason}", reason=reason) from exc
    if not devices:
        reason = "no device that it could use was found"
        raise BackendUnavailable(f"backend {name!r} is unavailable: {reason}", reason=reason)
    return devices


def _any_gpu(spec: str) -> Backend:
    if are_several(spec):
        raise InvalidInput(f"several devices are those of one library: name it, as in 'torch:{spec}'")
    wanted = spelled(spec)
    rows = backends()
    for row in rows:
        if any(device == wanted or device.partition(":")[0] == wanted for device in row.devices or ()):
            return _resolve(f"{row.name}:{wanted}")
    seen = "; ".join(f"{row.name}: {', '.join(row.devices) if row.devices else row.reason}" for row in rows)
    raise BackendUnavailable(f"no backend sees the device {wanted!r}: {seen}", reason=f"no device {wanted!r}; {seen}")


def _info(name: str, probe: bool) -> BackendInfo:
    try:
        cls = backend_class(name)
    except BackendUnavailable as exc:
        return BackendInfo(name, None, None, False, exc.reason, exc.install)
    found = _installed_version(cls)
    if found is None:
        reason = f"not installed ({' or '.join(cls.requires)})"
        return BackendInfo(name, None, None, False, reason, cls.install)
    if not probe:
        return BackendInfo(name, found, None, None, None, None)
    try:
        devices = _devices(name, cls)
    except BackendUnavailable as exc:
        return BackendInfo(name, found, None, False, exc.reason, exc.install)
    return BackendInfo(name, found, devices, True, getattr(cls, "remark", lambda: None)(), None)


def _installed_version(cls: type[Backend]) -> str | None:
    for distribution in cls.requires:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


@cache
def _entry_points() -> dict[str, list[EntryPoint]]:
    """By name; more than one where distributions disagree, which is an error of that name alone."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        same = found.setdefault(entry.name, [])
        if entry.value not in [other.value for other in same]:
            same.append(entry)
    return found


@cache
def _owner_by_module(module: str) -> type[Backend] | None:
    if module in ("builtins", "numpy"):
        return None
    for name in _entry_points():
        try:
            cls = backend_class(name)
        except BackendUnavailable as exc:
            logger.warning("the backend %r is skipped: %s", name, exc.reason)
            continue
        if module in cls.array_modules and name != DEFAULT:
            return cls
    return None


def _unknown(name: str) -> str:
    known = sorted(_entry_points())
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no backend is registered as {name!r}{hint}; registered: {', '.join(known)}, and 'auto' and 'gpu'"


def _first_line(exc: BaseException) -> str:
    return str(exc).strip().partition("\n")[0]
