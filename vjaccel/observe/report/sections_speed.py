"""How fast a run was, with which batches, and what it used: sections of the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from vjaccel.observe.report.account import MANY, Account
from vjaccel.observe.report.spans import Spans, clock
from vjaccel.pages.marks import LINE, Mark, colour
from vjaccel.pages.page import Plot, Section, Table
from vjaccel.pages.plots import Bar, Bars, Dot, Line, bars_plot, dots_plot, logarithmic, upward
from vjaccel.pages.words import UNKNOWN, counted, duration, percent, scaled, seconds, speed
from vjaccel.telemetry import Try

__all__ = ["batches_section", "latency_section", "machine_section", "throughput_section", "waiting_section"]

OUTCOMES = {
    "embedded": Mark(colour(0), LINE, False),
    "cached": Mark(colour(1), LINE, False, "dash"),
    "duplicate": Mark(colour(2), LINE, False, "dot"),
    "failed": Mark(colour(4), LINE, False, "dashdot"),
}

QUANTILES = {
    "p50": (0.50, Mark(colour(1), "circle", True)),
    "p95": (0.95, Mark(colour(2), "square", True, "dash")),
    "p99": (0.99, Mark(colour(4), "diamond", True, "dot")),
}

PLAIN = Mark(colour(0), LINE, False)

BUDGET, TAKEN = Mark(colour(1), "diamond", False), Mark(colour(0), "circle", True)

SHORT = "The run was too short for what would be over time."


def throughput_section(account: Account, found: Spans | None) -> Section:
    """Texts and tokens a second."""
    recording, totals = account.recording, account.recording.outcomes
    tokens = account.tokens
    words = [] if found is not None else [SHORT]
    if tokens is None:
        words.append("Tokens are not known: nobody counted them, or not of all texts.")
    plots, legend = [], []
    if found is not None:
        seen = [name for name in OUTCOMES if found.seen(name)]
        legend = [(name, OUTCOMES[name]) for name in seen] if len(seen) > 1 else []
        lines = [(name, OUTCOMES[name], found.rate(name), lambda x: speed(x, "texts/s")) for name in seen]
        if lines:
            plots.append(over_time(account, found, "Texts a second", "texts/s", lines))
        if tokens is not None:
            tokens_over = found.rate("tokens")
            plots.append(
                single(account, found, "Tokens a second", "tokens/s", tokens_over, lambda x: speed(x, "tokens/s"))
            )
        if plots and len(recording.calls) > 1:
            words.append("An upright line is where one call of the run ended, and the next began.")
    time = recording.seconds if recording.seconds and account.enough else None
    rows = [
        [name, f"{count:,}", speed(count / time if time else None, "/s")] for name, count in totals.items() if count
    ]
    if tokens is not None:
        rows.append(["tokens", f"{tokens:,}", speed(tokens / time if time else None, "/s")])
    tables = [Table("In all", ["what became of texts", "how many", "in a second"], rows)] if rows else []
    return Section("throughput", "Throughput", words=words, legend=legend, plots=plots, tables=tables)


def batches_section(account: Account) -> Section:
    """Which budgets of batches were tried, how large batches were, and what that gave."""
    budgets, tries = account.recording.budgets, account.recording.tries
    if not budgets:
        return Section("batches", "Batches", words=["No batch was embedded."])
    known = any(one.tokens for one in budgets.values())
    words = [
        "A batch is cut for a budget: what its texts hold together, padded to the longest, is no more than that. It takes "
        "as many texts as fit, and as there are."
    ]
    if account.batches < MANY:
        words.append("There were too few batches to tell how their budget was found.")
    elif len(budgets) == 1:
        words.append("All batches were cut for one budget: it was given, or nothing is learned for this model.")
    else:
        words.append(
            "The budget is learned while the run goes on: some are tried, and what was best is used. The one that most "
            "batches had is marked in the table."
        )
    if not known:
        words.append(
            "The tokens in a batch are not known, and so not how fast each budget was, which counts characters or bytes here."
        )
    rows = [
        [
            f"{budget:,}",
            f"{one.batches:,}",
            f"{one.texts / one.batches:,.1f}",
            f"{one.padded / one.batches:,.0f}" if known else UNKNOWN,
            f"{one.tokens / one.batches:,.0f}" if known else UNKNOWN,
            seconds(one.seconds / one.batches),
            speed(one.tokens / one.seconds if one.tokens and one.seconds else None, "tokens/s"),
        ]
        for budget, one in budgets.items()
    ]
    head = ["budget", "batches", "texts a batch", "tokens with padding", "tokens without", "mean time", "speed of one"]
    most = max(range(len(rows)), key=lambda i: [*budgets.values()][i].batches)
    strong = frozenset({most}) if len(rows) > 1 else frozenset[int]()
    tables = [Table("What each budget gave" if len(rows) > 1 else "What they were like", head, rows, strong)]
    plots = _budget_plots(account, tries) if len(budgets) > 1 and tries else []
    legend = [("size of a batch", TAKEN), ("its budget", BUDGET)] if plots else []
    return Section("batches", "Batches", words=words, legend=legend, plots=plots, tables=tables)


def _budget_plots(account: Account, tries: Sequence[Try]) -> list[Plot]:
    """Budgets and the sizes of their batches over time, and how fast batches of each size were."""
    whole = account.recording.seconds
    unit = clock(whole)

    def hover(one: Try) -> str:
        return (
            f"{one.padded:,} tokens with padding, for a budget of {one.budget:,}\n"
            f"{speed(one.rate, 'tokens/s')}, after {duration(one.at)}"
        )

    cut = [Dot(one.at / unit.size, one.budget, hover(one)) for one in tries]
    taken = [Dot(one.at / unit.size, one.padded, hover(one)) for one in tries]
    fast = [Dot(one.padded, one.rate, hover(one)) for one in tries]
    sizes = [one.padded for one in tries]
    return [
        dots_plot(
            "Budgets tried, and sizes of batches",
            "The budget and the size of batches by when they ended. The table has what each budget gave.",
            [
                Line("its budget", BUDGET, [cut], joined=False, size=6),
                Line("size of a batch", TAKEN, [taken], joined=False, size=5),
            ],
            unit.axis(whole),
            logarithmic("tokens, with padding", [*sizes, *(one.budget for one in tries)], scaled),
            height=300,
            uprights=_stops(account),
        ),
        dots_plot(
            "Speed by size",
            "Tokens a second of single batches by their size. The table has the means.",
            [Line("size of a batch", TAKEN, [fast], joined=False, size=5)],
            logarithmic("tokens of a batch, with padding", sizes, scaled),
            upward("tokens/s of one batch", max(one.rate for one in tries), scaled),
            height=300,
        ),
    ]


def latency_section(account: Account) -> Section:
    """How long batches took."""
    latencies = account.recording.latencies
    counts = latencies.counts()
    if not counts:
        return Section("latency", "Latency", words=["No batch has come back."])
    bars = _binned(counts)
    top = max(bar.height for bar in bars)
    found = {name: latencies.quantile(share) for name, (share, _) in QUANTILES.items()}
    known = {name: value for name, value in found.items() if value is not None}
    lines = [
        Line(
            name,
            QUANTILES[name][1],
            [[Dot(math.log10(at), 0, seconds(at)), Dot(math.log10(at), top * 1.04, seconds(at))]],
        )
        for name, at in known.items()
    ]
    low, high = 10 ** bars[0].left, 10 ** bars[-1].right
    # Bars have no width that is the same everywhere on a logarithmic axis: so the axis is of exponents, with the ticks of one.
    axis = logarithmic("time of a batch, without what it waited", [low, high], seconds)
    at = [math.log10(x) for x in axis.settings["tickvals"]]
    axis = axis._replace(settings=axis.settings | {"type": "linear", "tickvals": at})
    says = "How many batches took how long. The table has the time that half, 95% and 99% did not exceed."
    plot = bars_plot(
        "Batches by what they took", says, [Bars("batches", Mark(colour(0), "square", True), bars)], axis,
        upward("batches", max(5.0, top * 1.04), scaled), lines,
    )  # fmt: skip
    words = ["A batch fails or comes back as a whole; of those that came back:"]
    rows = [[name, seconds(value)] for name, value in found.items()]
    rows.append(["batches", f"{sum(counts.values()):,}"])
    legend = [(name, QUANTILES[name][1]) for name in known]
    return Section("latency", "Latency", words, legend, [plot], [Table("In numbers", ["what", "value"], rows)])


def waiting_section(account: Account, found: Spans | None) -> Section:
    """What the cache gave, what was tried again, what was waited for."""
    recording = account.recording
    outcomes = recording.outcomes
    values = recording.timeline.values
    retries, waited = int(values["retries"].sum()), float(values["waited"].sum())
    words, plots = [], []
    asked = outcomes["embedded"] + outcomes["cached"]
    if outcomes["cached"]:
        of = counted(asked, "text")
        words.append(f"The cache had {outcomes['cached']:,} of {of}: {percent(outcomes['cached'] / asked)}.")
    else:
        words.append("No text came from a cache.")
    if outcomes["duplicate"]:
        were = "was" if outcomes["duplicate"] == 1 else "were"
        words.append(f"{counted(outcomes['duplicate'], 'text')} had been there before, and {were} not embedded again.")
    if not retries and not waited:
        words.append("No request was sent again, and no batch has waited for a limit.")
    else:
        sent = f"{counted(retries, 'request')} {'was' if retries == 1 else 'were'} sent again"
        words.append(
            f"{sent}. Batches have waited {duration(waited)} for limits and between "
            f"attempts, all together, up to {recording.stages.workers:,} at once for {duration(recording.seconds)}."
        )
    if found is not None:
        share = found.rate("cached") / np.maximum(found.rate("cached") + found.rate("embedded"), 1e-9)
        if outcomes["cached"] and outcomes["embedded"]:
            plots.append(single(account, found, "Share that the cache had", "share", share, percent))
        if retries:
            again = found.rate("retries")
            plots.append(single(account, found, "Requests sent again", "in a second", again, lambda x: speed(x, "/s")))
        if waited:
            waits = found.rate("waited")
            plots.append(single(account, found, "Batches that wait", "at once", waits, lambda x: f"{x:.2f} at once"))
    return Section("waiting", "Cache, retries and waits", words=words, plots=plots)


def machine_section(account: Account, found: Spans | None) -> Section:
    """Memory, CPU and GPU."""
    values = account.recording.timeline.values
    words, plots, rows = [], [], []
    memory, device = values["memory_bytes"], values["device_bytes"]
    if found is None:
        words.append(SHORT)
    for name, title in (("memory_bytes", "Memory of the process"), ("device_bytes", "Memory of the GPU")):
        if np.isnan(values[name]).all():
            continue
        rows.append([title, f"{scaled(float(np.nanmax(values[name])), ' ')}B"])
        if found is not None:
            plots.append(single(account, found, title, "bytes", found.values[name], _bytes))
    used = float(values["cpu_seconds"].sum())
    if used:
        rows.append(["CPU time", duration(used)])
        if account.recording.seconds:
            rows.append(["Cores at work", f"{used / account.recording.seconds:.2f}"])
        if found is not None:
            cores = found.rate("cpu_seconds")
            plots.insert(1, single(account, found, "CPU", "cores at work", cores, lambda x: f"{x:.2f} cores"))
    if found is not None and np.nansum(found.values["queued"]) > 0:
        queued = found.values["queued"]
        plots.append(single(account, found, "Texts that wait for a batch", "texts", queued, lambda x: f"{x:,.0f}"))
    if np.isnan(memory).all():
        words.append("The memory of the process is not known.")
    if np.isnan(device).all():
        words.append("Of a GPU nothing is known: none was used here, or its memory is not told.")
    tables = [Table("At most, and in all", ["what", "value"], rows)] if rows else []
    return Section("machine", "Memory, CPU and GPU", words=words, plots=plots, tables=tables)


def single(
    account: Account, found: Spans, title: str, axis: str, values: np.ndarray, words: Callable[[float], str]
) -> Plot:
    """One line over the time of a run."""
    return over_time(account, found, title, axis, [(title, PLAIN, values, words)])


def over_time(
    account: Account,
    found: Spans,
    title: str,
    axis: str,
    lines: Sequence[tuple[str, Mark, np.ndarray, Callable[[float], str]]],
) -> Plot:
    """Lines over the time of a run; each has its name, look, values and what a number of it is in words."""
    whole = account.recording.seconds
    unit = clock(whole)
    top = max(float(np.nanmax(values)) for *_, values, _ in lines)
    drawn = []
    for name, mark, values, words in lines:
        dots = [
            Dot(
                round(float(at) / unit.size, 4),
                float(f"{value:.5g}"),
                f"{words(float(value))}\nafter {duration(float(at))}",
            )
            for at, value in zip(found.middles, values, strict=True)
            if not np.isnan(value)
        ]
        drawn.append(Line(name, mark, [dots], size=0))
    says = f"{title} over {duration(whole)}; {scaled(top)} at most. The tables have what it comes to."
    words_of = percent if axis == "share" else scaled
    return dots_plot(
        title, says, drawn, unit.axis(whole), upward(axis, top, words_of), height=260, uprights=_stops(account)
    )


def _stops(account: Account) -> list[float]:
    unit = clock(account.recording.seconds)
    return [call.at / unit.size for call in account.recording.calls[1:]]


def _bytes(value: float) -> str:
    return f"{scaled(value, ' ')}B"


def _binned(counts: dict[float, int], most: int = 30) -> list[Bar]:
    """Bars over the exponents of ten of what was counted in fine steps."""
    places = np.log10(list(counts))
    step = max(0.01, math.ceil((places.max() - places.min() + 0.01) / most * 100) / 100)
    numbers = np.floor(places / step).astype(int)
    bars = []
    for number in range(numbers.min(), numbers.max() + 1):
        height = sum(count for count, own in zip(counts.values(), numbers.tolist(), strict=True) if own == number)
        if height:
            left, right = number * step, (number + 1) * step
            bars.append(Bar(left, right, height, f"{height:,}, of {seconds(10**left)} to {seconds(10**right)}"))
    return bars
