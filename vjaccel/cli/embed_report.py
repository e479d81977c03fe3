"""What `vjaccel embed` says of a run, or of one that was only counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import typer
from rich.console import Console

from vjaccel.embedding import EmbeddingStatistics, Progress
from vjaccel.engines import Standing
from vjaccel.observe import Seen, View, cost_of
from vjaccel.pages.words import counted, duration

__all__ = ["measured", "show", "telling"]


def telling(bar: View, price: float | None) -> Callable[[Progress, int], None]:
    """What has a bar show how far a run is, and how many rows beside need nothing."""

    def tell(now: Progress, beside: int) -> None:
        bar.embedded(Seen(now.done, now.total, now.tokens, now.seconds, beside, price, now.recording))

    return tell


def measured(statistics: EmbeddingStatistics | None, price: float | None) -> dict[str, Any]:
    """What a run's report says of what it embedded; `statistics` is None where that was nothing."""
    return {
        "cost": cost_of(None if statistics is None else statistics.tokens, price),
        "statistics": None if statistics is None else statistics.to_dict(),
    }


def show(report: dict[str, Any], *, as_json: bool) -> None:
    """Print `report`, as JSON or in lines."""
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    lines = _planned_lines if "tokens" in report else _collected_lines if "stored" in report else _done_lines
    for line in lines(report):
        console.print(line, markup=False)
    if "report" in report:
        console.print(f"what the run was like: {report['report']}", markup=False)
    if report["bad_lines"]:
        console.print(f"passed over {counted(report['bad_lines'], 'bad line')}", style="yellow")


def _planned_lines(report: dict[str, Any]) -> Iterator[str]:
    tokens = f"at most {report['tokens_at_most']:,} tokens (the bytes in UTF-8; nobody can count them here)"
    if report["tokens"] is not None:
        tokens = f"{report['tokens']:,} tokens, the longest text {report['longest_tokens']:,}"
    apart = ("settled", "no_text", "too_long", "duplicates", "cached")
    texts = report["rows"] - sum(report[name] for name in apart) - report.get("refused", 0)
    yield f"would embed {texts:,} texts in {report['batches']:,} batches: {tokens}"
    if report["cost"] is not None:
        bound = "" if report["tokens"] is not None else "at most "
        yield f"cost: {bound}{report['cost']:,.4f}"
    if report["settled"]:
        yield f"{report['settled']:,} of {report['rows']:,} rows are settled by an earlier run"
    if report["cached"] or report["duplicates"]:
        yield f"{report['duplicates']:,} rows have the text of an earlier one; the cache has {report['cached']:,} texts"
    if report["truncated"]:
        yield f"{report['truncated']:,} texts are longer than the model takes"
    if report["too_long"]:
        yield f"{report['too_long']:,} texts are longer than the model takes, and would fail"
    if report["no_text"]:
        yield f"{report['no_text']:,} rows have no text, and would fail"
    if report.get("refused"):
        yield f"{report['refused']:,} rows cannot be stored ({_codes(report)}), and would fail"
    width = (
        f"vectors of width {report['dimensions']}" if report["dimensions"] else "the first vector will tell their width"
    )
    yield f"columns: {', '.join(report['columns'])}; {width}"


def _collected_lines(report: dict[str, Any]) -> Iterator[str]:
    yield from _run_lines(report)
    yield (
        f"{report['output']}: {report['stored']:,} rows stored, {report['updated']:,} with the same text "
        f"brought up to date, {report['there']:,} were there"
    )
    if report["resumed"]:
        yield f"{report['resumed']:,} more stored that a run that was stopped had embedded"
    if report["failed"]:
        yield f"{report['failed']:,} rows failed ({_codes(report)}): see {report['errors']}; the same command tries them again"


def _run_lines(report: dict[str, Any]) -> Iterator[str]:
    """Of the texts that were embedded."""
    found = report["statistics"]
    if found is None or not found["texts"]:
        return
    rates = [f"{found['texts_per_second'] or 0:,.0f} texts/s"]
    if found["tokens_per_second"] is not None:
        rates.append(f"{found['tokens_per_second']:,.0f} tokens/s")
    took = f"in {found['seconds']:.1f} s: {', '.join(rates)}"
    done = counted(found["embedded"], "text")
    if found["cache_hits"] or found["duplicates"]:
        yield f"{done} got {'its' if found['embedded'] == 1 else 'their'} vector {took}"
    else:
        yield f"embedded {done} {took}"
    for name, did in found["devices"].items():
        tokens = "" if did["tokens"] is None else f", {did['tokens']:,} tokens"
        out = "" if did["taken_out"] is None else f"; taken out: {did['taken_out']}"
        of = f"{counted(did['texts'], 'text')}{tokens} in {counted(did['batches'], 'batch', 'batches')}"
        yield f"on {name}: {of}, {duration(did['seconds'])}{out}"
    if found["truncated"]:
        lost = f"{found['tokens_lost']:,} tokens were cut off"
        yield f"{found['truncated']:,} texts were longer than the model takes; {lost}"
    if found["cache_hits"] or found["cache_misses"]:
        yield f"the cache had {found['cache_hits']:,} texts, and {found['cache_misses']:,} not"
    if report["cost"] is not None:
        yield f"cost: {report['cost']:,.4f}"


def _codes(report: dict[str, Any]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in report["failures"].items())


def _done_lines(report: dict[str, Any]) -> Iterator[str]:
    found = report["statistics"]
    if report["standing"] == Standing.FINISHED and found is None:
        yield f"{report['output']} is finished already: {report['rows']:,} rows"
    yield from _run_lines(report)
    if found is not None:
        if report["duplicates"]:
            yield f"{report['duplicates']:,} rows have the text of an earlier one, and its vector"
        yield f"wrote {report['output']}: {report['rows']:,} rows, vectors of width {report['identity']['dimensions']}"
    if found is None and report["standing"] != Standing.FINISHED:
        yield f"wrote {report['output']}: {report['rows']:,} rows; there was nothing left to embed"
    if report["failed"]:
        again = "--retry-failed tries them again"
        yield f"{report['failed']:,} texts failed ({_codes(report)}): see {report['errors']}; {again}"
