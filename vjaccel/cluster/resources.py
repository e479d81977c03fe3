"""What workers take of a cluster's nodes, and how many there are."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vjaccel.errors import InvalidInput

__all__ = ["Resources", "Workers"]


class Workers(NamedTuple):
    """How many workers there are to be: `least` at first, and no more than `most`, where that is not None."""

    least: int = 1
    most: int | None = None

    @classmethod
    def of(cls, said: str, option: str = "--workers") -> Workers:
        """``MIN:MAX``, ``MIN:`` or ``N``, as `option` was given it.

        Raises
        ------
        InvalidInput

        Examples
        --------
        >>> Workers.of("1:4")
        Workers(least=1, most=4)
        """
        low, colon, high = said.partition(":")
        try:
            least = int(low)
            most = least if not colon else int(high) if high else None
        except ValueError:
            raise InvalidInput(f"{option} {said!r} is neither MIN:MAX nor a number") from None
        if least < 1 or (most is not None and most < least):
            raise InvalidInput(f"{option} {said}: MIN is at least 1, and MAX no less than MIN")
        return cls(least, most)


@dataclass(frozen=True, slots=True)
class Resources:
    """What each worker takes of its node, as Ray counts it.

    Attributes
    ----------
    amounts : dict of str to float
        ``CPU``, ``GPU``, ``memory`` in bytes, and a cluster's own.
    """

    amounts: dict[str, float] = field(default_factory=lambda: {"CPU": 1.0})

    @classmethod
    def of(cls, said: str) -> Resources:
        """``NAME=NUMBER``, several with commas between.

        Raises
        ------
        InvalidInput

        Examples
        --------
        >>> Resources.of("gpu=1").amounts
        {'CPU': 1.0, 'GPU': 1.0}
        """
        found = {"CPU": 1.0}
        for part in said.split(","):
            name, _, amount = (x.strip() for x in part.partition("="))
            try:
                number = float(amount)
            except ValueError:
                number = -1.0
            if not name or not 0 <= number < float("inf"):
                raise InvalidInput(f"--resources {said!r}: write NAME=NUMBER, as in gpu=1 or cpu=4,gpu=1")
            found[name.upper() if name.lower() in ("cpu", "gpu") else name] = number
        return cls(found)

    def __str__(self) -> str:
        return ", ".join(
            f"{name.lower() if name in ('CPU', 'GPU') else name}={x:g}" for name, x in self.amounts.items()
        )

    def fit(self, there: dict[str, float]) -> bool:
        """Whether a node that has `there` has room for one worker when it does nothing else."""
        return all(there.get(name, 0.0) >= amount for name, amount in self.amounts.items())

    def times_in(self, there: dict[str, float]) -> int:
        """For how many workers a node that has `there` has room."""
        return min(
            (int(there.get(name, 0.0) // amount) for name, amount in self.amounts.items() if amount),
            default=sys.maxsize,
        )

    def options(self) -> dict[str, Any]:
        """As Ray's tasks and actors are asked for them."""
        own = {name: x for name, x in self.amounts.items() if name not in ("CPU", "GPU", "memory")}
        return {
            "num_cpus": self.amounts["CPU"],
            "num_gpus": self.amounts.get("GPU", 0),
            **({"memory": self.amounts["memory"]} if "memory" in self.amounts else {}),
            **({"resources": own} if own else {}),
        }
