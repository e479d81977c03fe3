"""Texts that come twice in a run: each is embedded once, while the other is near enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from vjaccel.embedding.gathered import Gathered

__all__ = ["WINDOW", "Window"]

WINDOW = 100_000
"""Texts among which the same one is embedded once."""


class _Place(NamedTuple):
    gathered: Gathered
    number: int


class Window:
    """The last texts of a run, and where the vector of each will be.

    Parameters
    ----------
    size : int
        Texts that are remembered, in whole chunks.
    """

    def __init__(self, size: int = WINDOW) -> None:
        self._size = size
        self._places: dict[str, _Place] = {}
        self._chunks: deque[tuple[Gathered, list[str]]] = deque()

    def distinct(self, texts: Sequence[Any], places: list[int], gathered: Gathered, *, last: bool) -> list[int]:
        """Those of `places` in a chunk whose texts have not been there; of the others `gathered` notes whose copies they are.

        Parameters
        ----------
        last : bool
            No chunk will follow: nothing need be remembered.
        """
        if last and not self._places and len({texts[i] for i in places}) == len(places):
            return places
        new = []
        for i in places:
            place = self._places.setdefault(texts[i], _Place(gathered, i))
            if place.gathered is gathered and place.number == i:
                new.append(i)
            else:
                gathered.copies.append((i, place.gathered, place.number))
        if not last:
            self._chunks.append((gathered, [texts[i] for i in new]))
            self._forget()
        return new

    def _forget(self) -> None:
        while self._chunks and len(self._places) - len(self._chunks[0][1]) >= self._size:
            _, texts = self._chunks.popleft()
            for text in texts:
                del self._places[text]
