"""What a provider is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

__all__ = [
    "AROUND",
    "BatchFailed",
    "DeviceFailed",
    "Expecting",
    "ModelIdentity",
    "OnDevices",
    "Prepared",
    "Provider",
    "ProviderOptions",
    "Reply",
]


AROUND = 2
"""Tokens that models put around each text, at most; the others are no more than its bytes in UTF-8."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """All that determines a vector but the text: what a file of vectors must say of itself to be searched.

    Attributes
    ----------
    provider, model : str
        As in ``provider:model``.
    digest : str or None
        SHA-256 of the weights and of what configures them; None where nobody knows them.
    dimensions : int or None
        The width of a vector.
    prompt : str
        What was put before each text.
    normalized : bool or None
        Whether vectors have norm one; None where nobody knows.
    revision : str or None
        Of a model of a hub, where one was asked for.
    dtype : str or None
        What the model computes in; None where nobody knows.
    truncate : str
        What becomes of texts that are longer than the model takes.
    precision : str
        What the numbers of a vector are.
    endpoint : str or None
        Where a remote model is asked, where that is not its provider's usual place.
    engine : str or None
        What runs a local model, where that is not torch.
    """

    provider: str
    model: str
    digest: str | None
    dimensions: int | None
    prompt: str
    normalized: bool | None
    revision: str | None = None
    dtype: str | None = None
    truncate: str = "end"
    precision: str = "float32"
    endpoint: str | None = None
    engine: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelIdentity:
        """The identity that `to_dict` wrote; what it does not say is None, or as it was before one could ask for it."""
        known = {field.name: values.get(field.name, field.default) for field in fields(cls)}
        return cls(**{name: None if value is MISSING else value for name, value in known.items()})  # type: ignore[arg-type]  # from JSON


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """What a user may ask of any provider; one that cannot do a thing says so. See `vjaccel.Embedder`."""

    device: str = "auto"
    dtype: str = "auto"
    workers: int | None = None
    batch_tokens: int | None = None
    dimensions: int | None = None
    normalize: bool | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    truncate: str = "end"
    engine: str = "torch"
    base_url: str | None = None
    timeout: float = 120.0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    shared_limits: str | None = None


class Reply(NamedTuple):
    """What came back for a batch.

    Attributes
    ----------
    vectors : array, shape (n, dim)
        Of any library, on any device; in the order of the items.
    tokens : int or None
        What the service says it has read; None where it does not say, or where `Prepared` has counted.
    retries : int
        Requests beyond the first.
    waited : float
        Seconds spent waiting for limits and between attempts.
    padded : int or None
        Tokens that were computed, padding included, where those are not the longest item's for each.
    unusable : dict of int to (str, str)
        Of items that got no vector, or one that is none, the code and message of the error if it stays at that. Like one that
        has a NaN or is zero, each is asked for once more, alone; what `vectors` has of them does not count.
    """

    vectors: Any
    tokens: int | None = None
    retries: int = 0
    waited: float = 0.0
    padded: int | None = None
    unusable: Mapping[int, tuple[str, str]] = MappingProxyType({})


class BatchFailed(Exception):
    """Raised by `Provider.embed` where it knows what is to be done with a batch that got no vectors.

    Any other exception is as ``then="split"`` with the code ``EMBEDDING_GENERATION_FAILED``.

    Attributes
    ----------
    code : str
        Of the errors of its texts.
    then : {"stop", "split", "apart", "give up"}
        ``stop``: no batch will fare better, and the run ends with the exception that this one was raised from.
        ``split``: its halves may be taken, or all but one text. ``apart``: so may they, if it is one text that makes it fail;
        they are tried when others have been, and a single text once more. ``give up``: each of its texts has failed.
    retries, waited
        As in `Reply`.
    tokens : int
        What the service says it has read all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "EMBEDDING_GENERATION_FAILED",
        then: Literal["stop", "split", "apart", "give up"] = "split",
        retries: int = 0,
        waited: float = 0.0,
        tokens: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.then = then
        self.retries = retries
        self.waited = waited
        self.tokens = tokens


class DeviceFailed(BatchFailed):
    """Raised by `Provider.embed` where its device is of no more use: other devices of the run take over its work.

    Without any the run ends with the exception that this one was raised from.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, then="stop")


class Prepared(NamedTuple):
    """Texts as a provider wants them, and how long they are.

    Attributes
    ----------
    items : list
        One for each text; opaque.
    lengths : ndarray of int64
        Tokens of each, as the model will see them; characters where `counted` is False.
    lost : ndarray of int64
        Tokens cut off each.
    counted : bool
        Whether lengths are tokens; where they are not, nobody knows what is cut off, unless `whole` says that nothing is.
    chunks : ndarray of int64 or None
        How many windows each text was cut into, where texts that are too long are; their vectors' mean is its vector.
    refused : dict of int to str, optional
        Texts that are too long, where that is an error: why, by their place.
    whole : bool
        Whether whoever embeds them refuses a text that is too long, so that none is cut off.
    at_most : bool
        Whether lengths that are not counted are what the tokens are at most.
    """

    items: list[Any]
    lengths: np.ndarray
    lost: np.ndarray
    counted: bool
    chunks: np.ndarray | None = None
    refused: dict[int, str] | None = None
    whole: bool = False
    at_most: bool = False


class Provider(Protocol):
    """Turns batches of texts into vectors. Its methods are called from several threads at once, at most `workers`."""

    workers: int
    """Batches that pay to be run at once."""
    batch_tokens: int
    """What one batch may hold when padded, in the units of `Prepared.lengths`."""
    batch_texts: int | None
    """What one batch may hold in texts, or None."""

    dimensions: int | None
    """The width of a vector, or None where only the first one will tell."""

    tuned_as: str | None
    """What the best budget of a batch depends on beside the texts: under it is kept what is learned of that, `batch_tokens`
    being the beginning. None where the budget is to stay."""

    def identity(self, prompt: str) -> ModelIdentity:
        """What determines the vectors that texts with `prompt` before them get."""
        ...

    def prompt(self, role: str | None) -> str:
        """The model's own prompt for a role, ``query`` or ``document``, or for none; empty where it has none."""
        ...

    def prepare(self, texts: list[str], prompt: str) -> Prepared:
        """Tokenise, or whatever can be done before batches are known."""
        ...

    def embed(self, items: list[Any], prompt: str) -> Any:
        """The vectors of some items: an array (len(items), dim) of any library, on any device, or a `Reply` with one.

        Raises
        ------
        BatchFailed
        """
        ...

    def is_out_of_memory(self, exc: BaseException) -> bool:
        """Whether `exc` says that a batch was too large for the device's memory."""
        ...

    def device_memory(self) -> int | None:
        """Bytes of a device's own memory that it has taken; None on a CPU, and where that is not known."""
        ...

    def begun(self) -> None:
        """Called when a run begins, before it has workers. Several runs may go on at once."""
        ...

    def started(self) -> None:
        """Called by each worker thread before its first batch of a run."""
        ...

    def halt(self) -> None:
        """Called when a run is over, maybe before its time: what its workers wait for, other than a device, is given up."""
        ...

    def ended(self) -> None:
        """Called once for each `begun`, when that run's workers have stopped; maybe in another thread."""
        ...

    def close(self) -> None:
        """Let go of what is held. Called once, when no run goes on."""
        ...


@runtime_checkable
class OnDevices(Protocol):
    """Who makes providers, each for one of several devices: their class, mostly."""

    def devices(self) -> Sequence[str]:
        """Those that there are, as ``("gpu:0", "gpu:1", "cpu")``, the best first."""
        ...


@runtime_checkable
class Expecting(Protocol):
    """A provider that looks at the width of its vectors itself."""

    def expect(self, dim: int) -> None:
        """Called when it is known from vectors that there were before, in a journal or a cache."""
        ...
