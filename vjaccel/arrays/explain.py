"""Which backend a call would use, why, and what it passed over."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np

from vjaccel.arrays import auto, hardware, registry
from vjaccel.arrays.corpus import Corpus
from vjaccel.arrays.dispatch import choose, home_of
from vjaccel.arrays.protocol import Backend
from vjaccel.errors import InvalidInput

__all__ = ["Explanation", "PassedOver", "explain"]


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A backend that is not used.

    Attributes
    ----------
    backend : str
    device : str or None
        None where the backend does not work here.
    reason : str
    """

    backend: str
    device: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `explain` found; as text it is a few lines to read.

    Attributes
    ----------
    operation, backend, device : str
    reason : str
    passed_over : tuple of PassedOver
        Every other backend, and every other device of this one.
    float64 : str
        What becomes of float64 input.
    """

    operation: str
    backend: str
    device: str
    reason: str
    passed_over: tuple[PassedOver, ...]
    float64: str

    def __str__(self) -> str:
        places = [f"{row.backend}:{row.device}" if row.device else row.backend for row in self.passed_over]
        width = max(map(len, places), default=0)
        rows = (f"  {p:<{width}}  {row.reason}" for p, row in zip(places, self.passed_over, strict=True))
        return "\n".join(
            [
                f"{self.operation} runs on {self.backend}:{self.device}: {self.reason}.",
                f"float64: {self.float64}.",
                "Passed over:",
                *rows,
            ]
        )


def explain(operation: str = "topk", *operands: object, backend: str | Backend | None = None) -> Explanation:
    """Which backend and device a call would use, why, and what it passed over. Nothing is computed.

    Parameters
    ----------
    operation : {"topk", "within", "pairs", "similarity", "distance", "paired_similarity", "paired_distance", "normalize"}
    *operands : array_like, Corpus, or tuple of int
        The call's arrays, or the shapes of float32 host arrays. Without any, an answer for host arrays of no size.
    backend : str or Backend, optional
        The call's argument.

    Returns
    -------
    Explanation

    Raises
    ------
    InvalidInput
        An operation that there is not.
    InvalidType, UnknownBackend, BackendUnavailable
        As the call itself would.

    Examples
    --------
    >>> found = explain("topk", (10, 384), (200_000, 384))
    >>> found.backend, found.device
    ('numpy', 'cpu')
    """
    if operation not in auto.OPERATIONS:
        near = difflib.get_close_matches(str(operation), auto.OPERATIONS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidInput(f"operation {operation!r} is unknown{hint}; known: {', '.join(auto.OPERATIONS)}")
    given = {f"operand {i}": _seen(x) for i, x in enumerate(operands)}
    corpus = next((x for x in operands if isinstance(x, Corpus)), None)
    used = corpus.backend if corpus is not None else choose(backend, given or {"x": None}, operation).backend
    reason = _named(given, backend, corpus)
    automatic = reason is None
    against = auto.against_a_gpu(auto.work_of(operation, *given.values())) if automatic else None
    wide = used.capabilities.float64
    return Explanation(
        operation,
        used.name,
        used.device,
        reason or _automatic(used, against),
        tuple(_others(used, against, automatic)),
        "stays float64" if wide else "gives float32 here; top-k is certified in float64 all the same",
    )


def _seen(x: object) -> object:
    shape = isinstance(x, tuple) and bool(x) and all(type(length) is int for length in x)
    return np.broadcast_to(np.float32(0), x) if shape else x  # type: ignore[call-overload]  # of no memory


def _named(given: dict[str, object], backend: str | Backend | None, corpus: Corpus | None) -> str | None:
    """Who says where the call computes; None where `auto` decides."""
    if corpus is not None:
        return "the corpus is there"
    if backend is not None and backend != "auto":
        return "the call names it"
    if backend is None and registry.chosen() is not None:
        return "the use_backend block that the call is in names it"
    if any(home_of(x) is not None for x in given.values()):
        return "the arrays are there"
    configured = None if backend == "auto" else registry.configured()
    return f"{configured[1]} names it for host arrays" if configured else None


def _automatic(used: Backend, against: str | None) -> str:
    if against is not None:
        return f"the arrays are the host's, and {against}"
    if used.device == "cpu":
        return "the arrays are the host's; the work is large enough for a GPU, and none that a backend can use is here"
    return "the arrays are the host's, and the work is large enough for a GPU"


def _others(used: Backend, against: str | None, automatic: bool) -> list[PassedOver]:
    rows: list[PassedOver] = []
    for row in registry.backends():
        if not row.usable:
            rows.append(PassedOver(row.name, None, "; ".join(filter(None, (row.reason, row.install)))))
            continue
        for device in row.devices or ():
            if (row.name, device) == (used.name, used.device):
                continue
            if not automatic:
                reason = "not asked for"
            elif device != "cpu":
                reason = against or "the first GPU is taken"
            elif used.device == "cpu":
                reason = "for host arrays on a CPU NumPy's kernels are the ones measured to be fastest"
            else:
                reason = "the work is large enough for a GPU"
            rows.append(PassedOver(row.name, device, reason + _lacking(row)))
    return rows


def _lacking(row: registry.BackendInfo) -> str:
    """What a library without a GPU lacks, where the machine seems to have one."""
    if any("gpu" in device for device in row.devices or ()) or hardware.sign_of_nvidia() is None:
        return ""
    line = registry.gpu_install(row.name)
    return f"; it sees no GPU, though {hardware.sign_of_nvidia()} is here: {line}" if line else ""
