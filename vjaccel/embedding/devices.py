"""The devices that an embedder has its model on, and what is known of batches there."""

from __future__ import annotations

from dataclasses import dataclass

from vjaccel.embedding.providers.protocol import Provider
from vjaccel.embedding.tuner import Lesson, Tuner

__all__ = ["Device"]


@dataclass
class Device:
    """A model on one device; of a service or a function, whatever computes its vectors.

    Attributes
    ----------
    tuner : Tuner or None
        Which chooses the budgets of its batches; None where the provider's own stays.
    """

    provider: Provider
    tuner: Tuner | None = None

    @property
    def most(self) -> int:
        """The largest budget that a batch may have."""
        return self.provider.batch_tokens if self.tuner is None else self.tuner.most

    def best(self, length: int) -> int:
        """The budget that is known to be best for texts of `length` tokens."""
        return self.provider.batch_tokens if self.tuner is None else self.tuner.best(length)

    def budget(self, length: int) -> tuple[int, Lesson | None]:
        """What the next batch is given, whose longest text has `length` tokens, and what it will tell."""
        if self.tuner is None:
            return self.provider.batch_tokens, None
        lesson = self.tuner.choose(length)
        return lesson.budget, lesson

    def ran_out(self, padded: int) -> None:
        """Memory had no room for a batch of so many tokens: there will be none as large in this run or the next."""
        if self.tuner is None:
            self.provider.batch_tokens = max(1, min(self.provider.batch_tokens, padded // 2))
        else:
            self.tuner.ran_out(padded)
