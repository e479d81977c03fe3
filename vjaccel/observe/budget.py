"""A progress bar of a run that has a time budget, on standard error; where that is no terminal, nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["BudgetBar"]


class BudgetBar:
    """How much of the budget is used up, and what is going on.

    Examples
    --------
    >>> with BudgetBar() as bar:
    ...     bar.show(12.5, 120.0, "topk on jax:cpu")
    """

    def __init__(self) -> None:
        console = Console(stderr=True, emoji=False)
        self._bar = Progress(
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    def show(self, seconds: float, budget: float, doing: str) -> None:
        """`seconds` of `budget` have gone by."""
        self._bar.update(self._task, completed=min(seconds, budget), total=budget, description=doing)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
