"""How a series looks, in every plot alike: a colour for the library, a sign of its own, filled on a GPU and hollow on a CPU;
a line that is solid with the data on a GPU, dashed with data from the host, dotted on a CPU.

So no series is told from another by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from vjaccel.benchmark.figures import Series
from vjaccel.benchmark.results import BASELINE
from vjaccel.pages.marks import SYMBOLS, Mark, colour

__all__ = ["marks"]


def marks(series: Iterable[Series]) -> dict[Series, Mark]:
    """A mark for each of `series`, in their order; the baseline has the colour of the text."""
    libraries: dict[str, int] = {}
    found: dict[Series, Mark] = {}
    names = list(SYMBOLS)
    for one in dict.fromkeys(series):
        library = one.subject.partition(":")[0] + (":" if ":" in one.subject else "")  # a peer is not the backend
        number = libraries.setdefault(library, len(libraries)) if one.subject != BASELINE else -1
        dash = "dot" if not one.gpu else "dash" if one.origin == "host" else "solid"
        found[one] = Mark(colour(number), names[len(found) % len(names)], one.gpu, dash)
    return found
