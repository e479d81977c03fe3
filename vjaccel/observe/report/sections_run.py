"""What a run came to, what failed, how long its texts were and how it was made: sections of the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from vjaccel.observe.report.account import Account
from vjaccel.observe.report.sample import beginning
from vjaccel.pages.marks import Mark, colour
from vjaccel.pages.page import Fold, Plot, Section, Table
from vjaccel.pages.plots import Axis, Bar, Bars, bars_plot, upward
from vjaccel.pages.words import counted, duration, percent, scaled, seconds, speed

__all__ = ["failures_section", "lengths_section", "made_section", "short_section"]

MESSAGE = 300
"""Characters of an error's message that are shown."""

TEXTS, TOKENS, PADDING = (Mark(colour(i), "square", True) for i in (2, 0, 1))

CALLS = {
    "began": "began the run",
    "went on": "went on where it was stopped",
    "again": "tried the texts again that had failed",
}

ROWS = {
    "rows": "in all",
    "with_vector": "with a vector",
    "duplicates": "with the text of an earlier one",
    "empty": "with an empty text",
    "resumed": "of all, settled by calls before the last",
    "bad_lines": "bad lines, passed over",
}
"""What a manifest counts, in words."""


def short_section(account: Account) -> Section:
    """What one would want to know first."""
    return Section("short", "In short", points=list(_points(account)))


def _points(account: Account) -> Iterator[str]:
    recording, outcomes, at_least = account.recording, account.recording.outcomes, account.at_least
    if not account.ended and account.stopped_by is not None:
        goes_on = account.goes_on[0].upper() + account.goes_on[1:]
        yield f"The run has not ended: it was stopped {account.stopped_by.rstrip('.')}. {goes_on}."
    elif not account.ended:
        yield (
            "The run has not ended: it was stopped or killed, or it is still going on. This page shows it until what it was "
            f"like was last kept; {account.goes_on}."
        )
    failed = sum(account.failures.values())
    if account.counts is not None:
        done, of = account.counts["with_vector"], account.counts["rows"]
        whole = f"{done:,} of {counted(of, 'row')} {'has its' if of == 1 else 'have their'} vector"
    else:
        own = account.with_vector
        done = outcomes["embedded"] + outcomes["cached"] + outcomes["duplicate"] if own is None else own
        whole = f"{counted(done, 'text')} {'has got its' if done == 1 else 'have got their'} vector"
    yield (
        whole
        + (f", and {failed:,} failed: {_codes(account)}." if failed else ", and none failed." if account.ended else ".")
    )
    if recording.seconds:
        rates = f": {', '.join(_rates(account))}" if account.enough else ", too little for a rate"
        yield f"It took {at_least}{duration(recording.seconds)}{rates}."
    if recording.unrecorded:
        yield (
            f"Of {counted(recording.unrecorded, 'text')} nothing is known but the vectors: it was killed before more was "
            "kept. So what is said of time, tokens and batches is of the others."
        )
    elif not recording.complete:
        yield "It was killed: what it did after that was last kept is not in its time and tokens."
    beside = [(outcomes["cached"], "the cache"), (outcomes["duplicate"], "the same text before")]
    if any(count for count, _ in beside):
        (count, where), *rest = [(count, where) for count, where in beside if count]
        yield f"{counted(count, 'vector')} came from {where}{''.join(f', {n:,} from {place}' for n, place in rest)}."
    if account.cost is not None:
        yield f"It cost {at_least}{account.cost:,.4f}: {account.tokens:,} tokens at {account.price:,g} a million."
    elif account.price is not None:
        yield "What it cost is not known, since the tokens are not."
    p50, p99 = recording.latencies.quantile(0.5), recording.latencies.quantile(0.99)
    if p50 is not None:
        yield f"Half of the batches took no more than {seconds(p50)}, 99% no more than {seconds(p99)}."
    share = _padding(account)
    if share is not None:
        yield f"{percent(share)} of what the model was given was padding."
    texts, lost = recording.truncated or (0, 0)
    if texts:
        were = "was longer than the model takes" if texts == 1 else "were longer than the model takes"
        yield f"{counted(texts, 'text')} {were}, and lost {counted(lost, 'token')}."
    what = Counter(call.what for call in recording.calls)
    if what["went on"]:
        yield f"It was stopped and gone on with {_times(what['went on'])}."
    if what["again"]:
        yield f"Texts that had failed were tried again {_times(what['again'])}."


def _rates(account: Account) -> Iterator[str]:
    """What came of texts in a second, and how much of that was the model's work."""
    recording, outcomes = account.recording, account.recording.outcomes
    settled, embedded = sum(outcomes.values()), outcomes["embedded"]
    of = "" if settled == embedded else f" ({speed(embedded / recording.seconds, 'of them embedded')})"
    yield speed(settled / recording.seconds, "texts/s") + of
    if account.tokens is not None:
        yield speed(account.tokens / recording.seconds, "tokens/s")


def _codes(account: Account) -> str:
    most = sorted(account.failures.items(), key=lambda item: -item[1])
    told = ", ".join(f"{code} {count:,}" for code, count in most[:3])
    return told + (f" and {len(most) - 3} codes more" if len(most) > 3 else "")


def _padding(account: Account) -> float | None:
    lengths = account.recording.lengths.values()
    tokens, padding = (float(sum(found[i] for found in lengths)) for i in (1, 2))
    return padding / (tokens + padding) if tokens + padding > 0 else None


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"


def failures_section(account: Account) -> Section:
    """What failed by code, and some of it whole."""
    total = sum(account.failures.values())
    if not total:
        return Section("failures", "Failures", words=["No text failed."])
    most = sorted(account.failures.items(), key=lambda item: (-item[1], item[0]))
    rows = [[code, f"{count:,}", percent(count / total)] for code, count in most]
    examples = [[one.code, one.which, beginning(one.message, MESSAGE)] for one in account.examples]
    order = {code: i for i, (code, _) in enumerate(most)}
    examples.sort(key=lambda row: order.get(row[0], len(order)))
    words = [f"{total:,} in all; of each code some are shown whole."] if examples else []
    tables: list[Table | Fold] = [Table("By code", ["code", "texts", "of all failures"], rows)]
    if examples:
        tables.append(Fold(Table("Examples", ["code", "which", "what was said"], examples)))
    return Section("failures", "Failures", words=words, tables=tables)


def lengths_section(account: Account) -> Section:
    """How long texts were, and what was padded beside them."""
    lengths = sorted(account.recording.lengths.items())
    title = "Lengths of texts"
    if not lengths:
        return Section("lengths", title, words=["How long texts were is not known: nobody counted their tokens here."])
    # Of every length one bar, also of those that no text had: so that equal steps are equal.
    exponents = [round(math.log2(most)) for most, _ in lengths]
    names = {i: _between(1 << i) for i in range(exponents[0], exponents[-1] + 1)}
    ticks = list(names)[:: math.ceil(len(names) / 7)]
    span = [exponents[0] - 0.6, exponents[-1] + 0.6]
    labels = {"tickvals": ticks, "ticktext": [f"{1 << i:,}" for i in ticks]}
    axis = Axis("tokens of a text", {"type": "linear", "range": span} | labels)

    def bars(place: int) -> list[Bar]:
        return [
            Bar(i - 0.45, i + 0.45, int(found[place]), f"{found[place]:,.0f}, of texts of {names[i]} tokens")
            for i, (_, found) in zip(exponents, lengths, strict=True)
        ]

    most = max(float(found[1] + found[2]) for _, found in lengths)
    texts = max(float(found[0]) for _, found in lengths)
    plots: list[Plot] = [
        bars_plot(
            "Texts",
            "How many texts had which length. The table has the figures.",
            [Bars("texts", TEXTS, bars(0))],
            axis,
            upward("texts", max(5.0, texts), scaled),
        ),
        bars_plot(
            "Tokens and padding",
            "What texts of each length hold, and the padding beside them. The table has the figures.",
            [Bars("tokens", TOKENS, bars(1)), Bars("padding", PADDING, bars(2))],
            axis,
            upward("tokens", max(5.0, most), scaled),
        ),
    ]
    rows = [
        [names[i], f"{found[0]:,.0f}", f"{found[1]:,.0f}", percent(float(found[2] / max(found[1] + found[2], 1)))]
        for i, (_, found) in zip(exponents, lengths, strict=True)
    ]
    words = [
        "Texts are put in batches by their length. A bar is of texts of more than half its number of tokens, up to it."
    ]
    legend = [("tokens", TOKENS), ("padding", PADDING)]
    tables = [Table("By length", ["tokens of a text", "texts", "tokens", "padding"], rows)]
    return Section("lengths", title, words, legend, plots, tables)


def _between(most: int) -> str:
    least = most // 2 + 1
    return f"{least:,}" if least >= most else f"{least:,} to {most:,}"


def made_section(account: Account) -> Section:
    """How the vectors were made, what became of the rows, and the calls of the run."""
    recording = account.recording
    described = [*account.described, ("run", recording.id), ("begun", recording.started.isoformat(sep=" ", timespec="seconds")),
                 ("batches at once, at most", f"{recording.stages.workers:,}"), ("vjaccel", account.version)]  # fmt: skip
    tables = [Table("How it was made", ["what", "value"], [list(row) for row in described])]
    if account.counts:
        always = ("rows", "with_vector")
        rows = [
            [words, f"{account.counts[name]:,}"]
            for name, words in ROWS.items()
            if account.counts[name] or name in always
        ]
        tables.append(Table("What became of the rows", ["rows", "how many"], rows))
    calls = recording.calls
    if len(calls) > 1:
        ends = [call.at for call in calls[1:]] + [recording.seconds]
        rows = [[call.when, CALLS[call.what], duration(end - call.at)] for call, end in zip(calls, ends, strict=True)]
        tables.append(Table("Calls", ["begun", "what it did", "took"], rows))
    return Section("run", "The run", tables=tables)
