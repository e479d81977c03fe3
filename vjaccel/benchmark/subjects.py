"""Who is measured: every backend that is installed, on every device that it sees, and the peers that are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from vjaccel.arrays import backends
from vjaccel.arrays.devices import spelled
from vjaccel.arrays.registry import DEFAULT, backend_class
from vjaccel.benchmark import peers
from vjaccel.benchmark.child import Child
from vjaccel.benchmark.results import Subject
from vjaccel.errors import BackendUnavailable, InvalidInput

__all__ = ["Member", "Wanted", "errors_file", "further", "wanted"]

State: TypeAlias = Literal["ok", "crashed", "hung", "refused", "failed"]

ALL, ALL_PEERS = "all", "peers"


@dataclass(frozen=True)
class Wanted:
    """A subject that is not started yet; without a device it is the one that the library prefers."""

    kind: Literal["backend", "peer"]
    library: str
    device: str | None = None
    embeds_only: bool = False
    """Whether it is here for `embed` alone: a list of backends was given, and it is not in it."""


@dataclass
class Member:
    """A subject that was started, or was tried."""

    wanted: Wanted
    child: Child | None
    device: str
    dtypes: tuple[str, ...] = ("float32", "float16", "float64")
    quantizes: bool = False
    state: State = "ok"
    reason: str | None = None
    start_s: float | None = None
    limits: dict[str, float | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As it stands in tables: ``torch:gpu:0`` is the backend, ``torch`` the peer."""
        if self.wanted.kind == "backend":
            return f"{self.wanted.library}:{self.device}"
        return self.wanted.library if self.device == "cpu" else f"{self.wanted.library} ({self.device})"

    @property
    def origins(self) -> tuple[str, ...]:
        """Where data can be before a measurement begins; for a CPU that is one place."""
        return ("host",) if self.device.startswith("cpu") else ("device", "host")

    def lost(self, state: State, reason: str) -> None:
        """It computes no more."""
        self.state, self.reason = state, reason
        self.close()

    def close(self) -> None:
        """End its process; what it has measured stays."""
        if self.child is not None:
            self.child.close()
            self.child = None

    def subject(self, hardware: str | None) -> Subject:
        """What is kept of it."""
        found: dict[str, Any] = {
            name: self.limits.get(name) for name in ("copy_bytes_per_s", "matmul_flops_per_s", "upload_bytes_per_s")
        }
        return Subject(
            self.name, self.wanted.kind, self.device, hardware, self.state, self.reason, self.start_s, **found
        )


def wanted(names: Sequence[str] | None, *, embed: bool) -> list[Wanted]:
    """The subjects that are named, or all that are installed; NumPy first, peers last.

    Raises
    ------
    UnknownBackend, BackendUnavailable, InvalidInput
    """
    if not names or list(names) == [ALL]:
        found = [*_backends(), *_peers()]
    else:
        found = list(dict.fromkeys(one for name in names for one in _named(name)))
    if embed:
        here = {(one.kind, one.library) for one in found}
        added = (
            Wanted("peer", "sentence-transformers", embeds_only=True),
            Wanted("backend", "torch", embeds_only=True),
        )
        installed = {"peer": peers.installed(), "backend": [one.library for one in _backends()]}
        found += [one for one in added if (one.kind, one.library) not in here and one.library in installed[one.kind]]
    order = list(peers.PEERS)
    return sorted(
        found, key=lambda one: (one.kind, order.index(one.library) if one.kind == "peer" else one.library != DEFAULT)
    )


def further(first: Wanted, devices: Sequence[str]) -> list[Wanted]:
    """The other devices of a library, which only it could tell once it was started."""
    if first.device is not None:
        return []
    return [Wanted(first.kind, first.library, device, first.embeds_only) for device in devices[1:]]


def errors_file(folder: Path, one: Wanted) -> Path:
    """What a subject's process prints."""
    return folder / f"{one.kind}-{one.library}-{one.device or 'first'}.txt".replace(":", "-")


def _backends() -> list[Wanted]:
    return [Wanted("backend", row.name) for row in backends(probe=False) if row.usable is not False]


def _peers() -> list[Wanted]:
    return [Wanted("peer", name) for name in peers.installed()]


def _named(name: str) -> list[Wanted]:
    library, _, device = name.strip().partition(":")
    if library == ALL:
        return [*_backends(), *_peers()]
    if library == ALL_PEERS:
        return _peers()
    rows = {row.name: row for row in backends(probe=False)}
    if library not in rows and library in peers.PEERS:
        if library not in peers.installed():
            raise InvalidInput(f"the peer {library!r} is not installed here: pip install {library}")
        return [Wanted("peer", library, spelled(device) if device else None)]
    backend_class(library)  # raises for a name that nobody registers
    row = rows[library]
    if row.usable is False:
        what = "; ".join(filter(None, (row.reason, row.install)))
        raise BackendUnavailable(f"backend {library!r} is unavailable: {what}", reason=what, install=row.install)
    return [Wanted("backend", library, spelled(device) if device else None)]
