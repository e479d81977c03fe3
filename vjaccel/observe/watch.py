"""A live view of a run on a terminal: its stages, workers, rates, batches, errors, what it uses and when it will be done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vjaccel.observe.view import Seen
from vjaccel.telemetry import CircuitChanged, ConcurrencyChanged, Happened, Recording, Timeline, listening

__all__ = ["WatchView"]

REFRESHES = 4
"""A second."""

RECENT = 10.0
"""Seconds that "now" is a mean over."""

IDLE = 5.0
"""Seconds without anything coming of the texts, from which on it is said."""

BLOCKS = " ▁▂▃▄▅▆▇█"

PLAIN_BLOCKS = " .:-=+*#%"
"""Where the terminal's encoding has no others."""

ROOM = 10
"""Columns of the names of lines."""


class WatchView:
    """Draws the view until it is left; what it shows last stays.

    Parameters
    ----------
    title : str
        What is embedded into what.
    console : Console, optional
        By default that of standard error.
    clock : callable
        Seconds.
    """

    def __init__(self, title: str, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True, emoji=False)
        self._title = title
        self._clock = clock
        self._doing, self._since = "reading", clock()
        self._rows = 0
        self._seen: Seen | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._open: set[str] = set()
        self._limits: dict[str, int] = {}
        self._live = Live(
            get_renderable=self.drawn,
            console=self._console,
            refresh_per_second=REFRESHES,
            vertical_overflow="crop",
        )
        self._stack = ExitStack()

    def read(self, rows: int) -> None:
        """`rows` of the inputs have been read."""
        self._rows = rows

    def loading(self, doing: str = "loading the model") -> None:
        """What is waited for before anything is embedded."""
        self._doing, self._since = doing, self._clock()

    def embedded(self, seen: Seen, doing: str = "embedding") -> None:
        """The run has come so far."""
        self._doing, self._seen = doing, seen
        now = self._clock()
        self._recent.append((now, seen.done))
        while now - self._recent[0][0] > RECENT:
            self._recent.popleft()

    def say(self, sentence: str) -> None:
        """A line that stays, above the view."""
        self._live.console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._stack.enter_context(listening(self._hear))
        self._stack.enter_context(self._live)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def drawn(self) -> RenderableType:
        """What is shown now."""
        title = Text(self._title, style="bold", overflow="ellipsis", no_wrap=True)
        seen = self._seen
        if seen is None:
            rows = f"{self._rows:,} rows, " if self._rows else ""
            return Group(title, Text(f"{self._doing}: {rows}{_clock_time(self._clock() - self._since)}"))
        if seen.recording is not None:
            # Not when it was told last: what hangs tells nothing.
            seen = seen._replace(seconds=seen.recording.seconds)
        lines = Table.grid(padding=(0, 1))
        lines.add_column(width=ROOM, style="cyan", no_wrap=True)
        lines.add_column(ratio=1, overflow="fold")
        for name, value in self._lines(seen):
            lines.add_row(name, value)
        return Group(title, self._bar(seen), lines)

    # Below

    def _hear(self, happened: Happened) -> None:
        event = happened.event
        if isinstance(event, CircuitChanged):
            (self._open.add if event.is_open else self._open.discard)(event.endpoint)
        elif isinstance(event, ConcurrencyChanged):
            self._limits[event.endpoint] = event.limit

    def _bar(self, seen: Seen) -> RenderableType:
        done = seen.done + seen.beside
        bar = ProgressBar(total=seen.total, completed=done, pulse=seen.total is None)
        share = f"{done / seen.total:.0%}" if seen.total else ""
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        row.add_row(bar, share)
        return row

    def _lines(self, seen: Seen) -> list[tuple[str, Text]]:
        done, recording = seen.done + seen.beside, seen.recording
        how_far = f"{done:,} of {seen.total:,}" if seen.total else f"{done:,}"
        left = f", {_clock_time(seen.left)} left" if seen.left else ""
        found = [(self._doing, f"{how_far} texts in {_clock_time(seen.seconds)}{left}"), ("rate", self._rates(seen))]
        if recording is not None:
            timeline = recording.timeline  # a copy, so that all of one view is of one moment
            found += [("", self._curve(timeline)), *self._of(recording, timeline)]
        if seen.cost is not None:
            found.append(("cost", f"{seen.cost:,.4f}"))
        texts = [(name, Text(value)) for name, value in found if value]
        if recording is not None and recording.failures:
            worst = sorted(recording.failures.items(), key=lambda item: -item[1][0])
            failed = f"{recording.outcomes['failed']:,}: " + ", ".join(f"{code} {n:,}" for code, (n, _) in worst)
            texts.append(("failed", Text(failed, style="red")))
        if recording is not None and recording.idle >= IDLE:
            texts.append(("idle", Text(f"for {_clock_time(recording.idle)} nothing has come", style="yellow")))
        if self._open:
            texts.append(("down", Text(", ".join(sorted(self._open)), style="red")))
        return texts

    def _rates(self, seen: Seen) -> str:
        now, over = self._clock(), seen.recording is None or seen.recording.is_over
        if over:
            now = self._recent[-1][0]
        # A copy: the run's thread adds to it meanwhile.
        told = [one for one in list(self._recent) if now - one[0] <= RECENT]
        then, before = told[0] if told else (now - RECENT, seen.done)
        recent = [f"{(seen.done - before) / (now - then):,.0f} texts/s now"] if now - then > 1 else []
        mean = [f"{seen.rate:,.0f} texts/s{' in all' if recent else ''}"] if seen.rate is not None else []
        tokens = [f"{seen.tokens_rate:,.0f} tokens/s"] if seen.tokens_rate is not None else []
        return ", ".join(recent + mean + tokens)

    def _curve(self, timeline: Timeline) -> str:
        """The rate over the whole run."""
        values = timeline.values
        per_span = np.sum([values[name] for name in ("embedded", "cached", "duplicate", "failed")], axis=0)
        # No finer than a second: what is done is told batch by batch.
        most = min(48, self._console.width - ROOM - 2, int(timeline.seconds))
        if most < 4:
            return ""
        parts = np.array_split(per_span, min(most, len(per_span)))
        rates = np.array([part.mean() for part in parts])
        blocks = BLOCKS if (self._console.encoding or "").lower().startswith("utf") else PLAIN_BLOCKS
        steps = np.ceil(rates / max(rates.max(), 1e-9) * (len(blocks) - 1)).astype(int)
        return "".join(blocks[step] for step in steps)

    def _of(self, recording: Recording, timeline: Timeline) -> list[tuple[str, str]]:
        stages, outcomes = recording.stages, recording.outcomes
        waiting = [
            ("to tokenise", stages.read - stages.prepared),
            ("to embed", stages.prepared - stages.settled),
        ]
        found = [
            ("waiting", ", ".join(f"{count:,} {what}" for what, count in waiting)),
            ("workers", f"{stages.at_work} of {stages.workers} at work{self._limit()}"),
            ("batches", self._batches(recording, timeline)),
        ]
        beside = {"from the cache": outcomes["cached"], "duplicates": outcomes["duplicate"]}
        found.append(("saved", ", ".join(f"{count:,} {what}" for what, count in beside.items() if count)))
        values = timeline.values
        if values["retries"].sum() or values["waited"].sum() >= 0.5:
            found.append(("retries", f"{values['retries'].sum():,.0f}; waited {values['waited'].sum():,.0f} s"))
        found.append(("uses", _uses(timeline)))
        return found

    def _limit(self) -> str:
        # A list first: the run's threads may add an endpoint meanwhile.
        return "".join(f", {limit} requests at once" for limit in list(self._limits.values()))

    def _batches(self, recording: Recording, timeline: Timeline) -> str:
        middle, slow = recording.latencies.quantile(0.5), recording.latencies.quantile(0.95)
        found = []
        if recording.stages.budget is not None:
            found.append(f"of {recording.stages.budget:,} tokens at most")
        if len(recording.budgets) > 1:
            found.append(f"{len(recording.budgets)} sizes tried")
        if middle is not None and slow is not None:
            found.append(f"half in {_seconds(middle)}, 95% in {_seconds(slow)}")
        values = timeline.values
        padded = values["padded"].sum()
        if padded:
            found.append(f"{1 - values['tokens'].sum() / padded:.1%} padding")
        return ", ".join(found)


def _uses(timeline: Timeline) -> str:
    values, width = timeline.values, timeline.width
    memory, device = values["memory_bytes"], values["device_bytes"]
    found = []
    if np.isfinite(memory).any():
        found.append(f"{memory[np.isfinite(memory)][-1] / 1e9:.2f} GB of memory")
    if np.isfinite(device).any():
        found.append(f"{device[np.isfinite(device)][-1] / 1e9:.2f} GB on the device")
    spans = values["cpu_seconds"][:-1][-8:]
    if len(spans):
        found.append(f"{spans.mean() / width:.1f} cores")
    return ", ".join(found)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
