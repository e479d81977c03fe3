"""The errors of a run by their code: all of them counted, a few of each code kept whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

__all__ = ["Example", "Failures"]

EXAMPLES = 5
"""Errors of one code that are kept whole; the others are counted."""

CODES = 50
"""Codes of errors that are kept apart, at most."""

OTHERS = "other codes"


class Example(NamedTuple):
    """An error of one text: its number in the run, and what was said."""

    number: int
    message: str


@dataclass
class _OfCode:
    texts: int = 0
    examples: list[Example] = field(default_factory=list)


class Failures:
    """It takes no more room for a million errors. Whoever writes to it from several threads holds a lock."""

    def __init__(self) -> None:
        self._by_code: dict[str, _OfCode] = {}

    def add(self, number: int, code: str, message: str) -> str:
        """Count the error of one text; the code that it is counted as."""
        code = self._kept(code)
        found = self._by_code.setdefault(code, _OfCode())
        found.texts += 1
        if len(found.examples) < EXAMPLES:
            found.examples.append(Example(number, message))
        return code

    def take_in(self, other: Failures) -> None:
        """Count those of `other` too."""
        for code, others in other._by_code.items():
            mine = self._by_code.setdefault(self._kept(code), _OfCode())
            mine.texts += others.texts
            mine.examples = [*mine.examples, *others.examples][:EXAMPLES]

    def since(self, before: Failures) -> Failures:
        """Those that are counted since it was as `before`."""
        made, earlier = Failures(), before.found()
        for code, (texts, examples) in self.found().items():
            of_before, shown = earlier.get(code, (0, []))
            if texts > of_before:
                made._by_code[code] = _OfCode(texts - of_before, examples[len(shown) :])
        return made

    def found(self) -> dict[str, tuple[int, list[Example]]]:
        """By the code, how many texts, and some of them."""
        return {code: (found.texts, list(found.examples)) for code, found in self._by_code.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            code: {"texts": texts, "examples": [list(one) for one in examples]}
            for code, (texts, examples) in self.found().items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Those that `to_dict` wrote.

        Raises
        ------
        KeyError, TypeError
            They are none.
        """
        made = cls()
        made._by_code = {
            code: _OfCode(found["texts"], [Example(*one) for one in found["examples"]])
            for code, found in values.items()
        }
        return made

    def _kept(self, code: str) -> str:
        """A code of an error, or what those are counted as that are too many."""
        return code if code in self._by_code or len(self._by_code) < CODES else OTHERS
