"""What a provider is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

__all__ = ["ModelIdentity", "Prepared", "Provider", "ProviderOptions"]


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
    """

    provider: str
    model: str
    digest: str | None
    dimensions: int | None
    prompt: str
    normalized: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelIdentity:
        """The identity that `to_dict` wrote; what it does not know is left out."""
        return cls(**{name: values.get(name) for name in cls.__slots__})  # type: ignore[arg-type]


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
        Whether lengths are tokens.
    """

    items: list[Any]
    lengths: np.ndarray
    lost: np.ndarray
    counted: bool


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
        """The vectors of some items: an array (len(items), dim) of any library, on any device."""
        ...

    def is_out_of_memory(self, exc: BaseException) -> bool:
        """Whether `exc` says that a batch was too large for the device's memory."""
        ...

    def begun(self) -> None:
        """Called when a run begins, before it has workers. Several runs may go on at once."""
        ...

    def started(self) -> None:
        """Called by each worker thread before its first batch of a run."""
        ...

    def ended(self) -> None:
        """Called once for each `begun`, when that run's workers have stopped; maybe in another thread."""
        ...

    def close(self) -> None:
        """Let go of what is held. Called once, when no run goes on."""
        ...
