"""What there is to be told of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vjaccel.observe.report.sample import Sample
from vjaccel.observe.view import cost_of
from vjaccel.telemetry import Recording

__all__ = ["MANY", "Account", "Failed", "described"]

RATE_SECONDS, MANY = 3.0, 10
"""From how many seconds, and batches, on something is said of a run that they are a part of."""


class Failed(NamedTuple):
    """An error, as an example of its code: which text or row it was, and what was said."""

    code: str
    which: str
    message: str


@dataclass(frozen=True)
class Account:
    """What is known of a run; None is what nobody knows.

    Attributes
    ----------
    name : str
        What the run was for: its output.
    recording : Recording
    version : str
        Of the vjaccel that ran.
    ended : bool
        Whether it has come to its end.
    statistics : mapping or None
        `EmbeddingStatistics.to_dict`, of the last call where there were several.
    counts : mapping of str to int, or None
        What became of rows, as in a manifest.
    failures : mapping of str to int
        By the code of their error.
    examples : sequence of Failed
    described : sequence of (str, str)
        How the vectors were made.
    price : float or None
        Of a million tokens.
    sample : Sample or None
        Of the vectors, for a map.
    no_map : str
        Why there is none.
    stopped_by : str or None
        Why it has not; None where that is not known.
    goes_on : str
        What goes on with one that has not.
    with_vector : int or None
        Texts, each once, of a run over files that has not ended; None of others, whose recording says it.
    """

    name: str
    recording: Recording
    version: str
    ended: bool = True
    statistics: Mapping[str, Any] | None = None
    counts: Mapping[str, int] | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    examples: Sequence[Failed] = ()
    described: Sequence[tuple[str, str]] = ()
    price: float | None = None
    sample: Sample | None = None
    no_map: str = ""
    stopped_by: str | None = None
    goes_on: str = "the same command goes on"
    with_vector: int | None = None

    @property
    def tokens(self) -> int | None:
        """Of all calls of the run together, at least where one was killed; None where they were not counted."""
        return self.recording.tokens_at_least

    @property
    def at_least(self) -> str:
        """What stands before times, tokens and the cost: nothing where all of the run is known."""
        return "" if self.recording.complete else "at least "

    @property
    def enough(self) -> bool:
        """Whether there was enough of the run for a rate: of one that has ended, whatever there was."""
        return self.ended or (self.recording.seconds >= RATE_SECONDS and self.batches >= MANY)

    @property
    def batches(self) -> int:
        """That have come back."""
        return sum(self.recording.latencies.counts().values())

    @property
    def cost(self) -> float | None:
        """In the currency of the price; as the tokens at least."""
        return cost_of(self.tokens, self.price)


def described(identity: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a model's identity says, in words; what is not known or usual is left out."""
    model = f"{identity.get('provider')}:{identity.get('model')}"
    words = {
        "revision": "revision",
        "dimensions": "width of a vector",
        "dtype": "computed in",
        "prompt": "prompt",
        "engine": "engine",
        "endpoint": "asked at",
        "truncate": "texts that are too long",
        "precision": "vectors as",
        "digest": "digest of the weights",
    }
    found = [(words[name], str(identity[name])) for name in words if identity.get(name) not in (None, "")]
    return [("model", model), *found]
