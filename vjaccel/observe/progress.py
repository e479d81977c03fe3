"""A progress bar of an embedding run, on standard error; where that is no terminal, nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["RunBar"]

NARROW = 80
"""Columns below which the rates are left out, so that the bar stays in one line."""


class RunBar:
    """A bar for one run: first while its inputs are read, then while its texts are embedded.

    Examples
    --------
    >>> with RunBar() as bar:
    ...     bar.read(2000)
    ...     bar.embedded(512, total=2000, tokens=9000, seconds=1.5)
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        rates = [] if console.width < NARROW else [TextColumn("{task.fields[rates]}", style="cyan")]
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
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

    def embedded(self, done: int, *, total: int | None, tokens: int | None, seconds: float) -> None:
        """`done` of `total` texts have been embedded, `tokens` in all, `seconds` after the run began."""
        rates = f"{done / seconds:,.0f} texts/s" if seconds else ""
        if tokens and seconds:
            rates += f"  {tokens / seconds:,.0f} tokens/s"
        self._bar.update(self._task, description="embedding", completed=done, total=total, rates=rates)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
