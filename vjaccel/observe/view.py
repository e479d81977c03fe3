"""What a command shows of a run while it goes on."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self

from vjaccel.telemetry import Recording

__all__ = ["Seen", "View", "cost_of"]


def cost_of(tokens: int | None, price: float | None) -> float | None:
    """What tokens cost at the price of a million, in its currency; None where one of them is not known."""
    return None if price is None or tokens is None else tokens * price / 1e6


class Seen(NamedTuple):
    """How far a run has come.

    Attributes
    ----------
    done : int
        Texts that this call has embedded, or that have failed.
    total : int or None
        Rows in all, where that is known.
    tokens : int or None
        Of the texts that were embedded.
    seconds : float
        Since the run began.
    beside : int
        Rows of the total that took no time, as an earlier call has settled them.
    price : float or None
        Of a million tokens.
    recording : Recording or None
        What the run was like until now; None where nothing is embedded, but counted.
    """

    done: int
    total: int | None
    tokens: int | None
    seconds: float
    beside: int = 0
    price: float | None = None
    recording: Recording | None = None

    @property
    def rate(self) -> float | None:
        """Texts a second, of the whole run."""
        return self.done / self.seconds if self.seconds else None

    @property
    def tokens_rate(self) -> float | None:
        """Tokens a second."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None

    @property
    def cost(self) -> float | None:
        """In the price's currency."""
        return cost_of(self.tokens, self.price)

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take, at the run's rate."""
        if self.total is None or not self.done:
            return None
        return (self.total - self.done - self.beside) * self.seconds / self.done


class View(Protocol):
    """Shows it; a context manager."""

    def read(self, rows: int) -> None:
        """`rows` of the inputs have been read."""
        ...

    def loading(self, doing: str = "loading the model") -> None:
        """What is waited for before anything is embedded."""
        ...

    def embedded(self, seen: Seen, doing: str = "embedding") -> None:
        """The run has come so far."""
        ...

    def say(self, sentence: str) -> None:
        """A sentence that stays."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
