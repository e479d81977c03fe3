"""Progress of an embedding run, on standard error: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["RunBar"]

NARROW = 80
"""Columns below which the rates are left out, so that the bar stays in one line."""


LINE_SECONDS = 10.0
"""Between two lines, where there is no terminal."""


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
    ...     bar.embedded(512, total=2000, tokens=9000, seconds=1.5)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        console = self._console = Console(stderr=True, emoji=False)
        self._clock = clock
        self._said = clock()
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

    def loading(self) -> None:
        """The model is being loaded."""
        self._bar.update(self._task, description="loading the model", completed=0)

    def embedded(
        self,
        done: int,
        *,
        total: int | None,
        tokens: int | None,
        seconds: float,
        price: float | None = None,
        beside: int = 0,
        doing: str = "embedding",
    ) -> None:
        """`done` of `total` texts have been embedded, `tokens` in all, `seconds` after the run began.

        `price` is that of a million tokens; `beside` are texts of the total that took no time.
        """
        rates = [f"{done / seconds:,.0f} texts/s"] if seconds else []
        rates += [f"{tokens / seconds:,.0f} tokens/s"] if tokens and seconds else []
        rates += [f"cost {tokens * price / 1e6:,.4f}"] if tokens and price is not None else []
        self._bar.update(self._task, description=doing, completed=done + beside, total=total, rates="  ".join(rates))
        if not self._console.is_terminal and self._clock() - self._said >= LINE_SECONDS:
            self._said = self._clock()
            left = [f"{(total - done - beside) * seconds / done:,.0f} s left"] if total and done and seconds else []
            how_far = f"{done + beside:,} of {total:,} texts" if total else f"{done:,} texts"
            self._console.print(
                f"vjaccel: {doing}: {', '.join([how_far, *rates, *left])}", highlight=False, soft_wrap=True
            )

    def say(self, sentence: str) -> None:
        """A line that stays, above the bar."""
        self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class _Count(MofNCompleteColumn):
    """How many of how many; only how many, while it is not known of how many."""

    def render(self, task: Task) -> Text:
        """Of one task."""
        return (
            super().render(task) if task.total is not None else Text(f"{task.completed:,.0f}" if task.completed else "")
        )
