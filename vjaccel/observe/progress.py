"""Progress of an embedding run, on standard error: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from vjaccel.observe.view import Seen

__all__ = ["LINE_SECONDS", "LogLines", "RunBar"]

NARROW = 80
"""Columns below which the rates are left out, so that the bar stays in one line."""


LINE_SECONDS = 10.0
"""Between two lines, where there is no terminal."""

logger = logging.getLogger("vjaccel.cli")


class RunBar:
    """A bar for one run: first while its inputs are read, then while its texts are embedded.

    Parameters
    ----------
    clock : callable
        Seconds, for the lines where there is no terminal.

    Examples
    --------
    >>> with RunBar() as bar:
    ...     bar.read(2000)
    ...     bar.embedded(Seen(512, total=2000, tokens=9000, seconds=1.5))
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        console = self._console = Console(stderr=True, emoji=False)
        self._now_and_then = _NowAndThen(clock)
        rates = [] if console.width < NARROW else [TextColumn("{task.fields[rates]}", style="cyan")]
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            _Count(),
            *rates,
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
            expand=True,
        )
        self._task = self._bar.add_task("reading", total=None, rates="")

    def read(self, rows: int) -> None:
        """`rows` have been read."""
        self._bar.update(self._task, completed=rows)

    def loading(self, doing: str = "loading the model") -> None:
        """What is waited for before anything is embedded."""
        self._bar.update(self._task, description=doing, completed=0)

    def embedded(self, seen: Seen, doing: str = "embedding") -> None:
        """The run has come so far."""
        rates = "  ".join(_rates(seen))
        self._bar.update(
            self._task, description=doing, completed=seen.done + seen.beside, total=seen.total, rates=rates
        )
        if not self._console.is_terminal and self._now_and_then.is_time():
            self.say(f"vjaccel: {_sentence(seen, doing)}")

    def say(self, sentence: str) -> None:
        """A line that stays, above the bar."""
        self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()


class LogLines:
    """The same as records of the log, with their figures as fields."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._now_and_then = _NowAndThen(clock)

    def read(self, rows: int) -> None:
        """`rows` have been read."""
        if self._now_and_then.is_time():
            logger.info("reading: %d rows", rows, extra={"fields": {"rows": rows}})

    def loading(self, doing: str = "loading the model") -> None:
        """What is waited for before anything is embedded."""
        logger.info("%s", doing)

    def embedded(self, seen: Seen, doing: str = "embedding") -> None:
        """The run has come so far."""
        if self._now_and_then.is_time():
            logger.info("%s", _sentence(seen, doing), extra={"fields": _fields(seen)})

    def say(self, sentence: str) -> None:
        """A record of it."""
        logger.info("%s", sentence.removeprefix("vjaccel: "))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class _NowAndThen:
    """Whether it is time again for a line."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said = clock()

    def is_time(self) -> bool:
        is_time = self._clock() - self._said >= LINE_SECONDS
        if is_time:
            self._said = self._clock()
        return is_time


def _rates(seen: Seen) -> list[str]:
    found = [f"{seen.rate:,.0f} texts/s"] if seen.rate is not None else []
    found += [f"{seen.tokens_rate:,.0f} tokens/s"] if seen.tokens_rate is not None else []
    return found + ([f"cost {seen.cost:,.4f}"] if seen.cost else [])


def _sentence(seen: Seen, doing: str) -> str:
    done = seen.done + seen.beside
    how_far = f"{done:,} of {seen.total:,} texts" if seen.total else f"{done:,} texts"
    left = [f"{seen.left:,.0f} s left"] if seen.left is not None else []
    return f"{doing}: {', '.join([how_far, *_rates(seen), *left])}"


def _fields(seen: Seen) -> dict[str, Any]:
    outcomes = {} if seen.recording is None else seen.recording.outcomes
    return {
        "done": seen.done + seen.beside,
        "total": seen.total,
        "tokens": seen.tokens,
        "texts_per_second": seen.rate,
        "seconds_left": seen.left,
        "cost": seen.cost,
        **outcomes,
    }


class _Count(MofNCompleteColumn):
    """How many of how many; only how many, while it is not known of how many."""

    def render(self, task: Task) -> Text:
        """Of one task."""
        return (
            super().render(task) if task.total is not None else Text(f"{task.completed:,.0f}" if task.completed else "")
        )
