"""The report of one run: one HTML file that needs no network."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

from vjaccel.benchmark.figures import Pays, Series, counted, is_gpu, pays, speedups
from vjaccel.benchmark.marks import marks
from vjaccel.benchmark.results import BASELINE, Run
from vjaccel.benchmark.sections_machine import costs_section, machine_section, noise_section, refused_section
from vjaccel.benchmark.sections_models import embedding_section, recall_section
from vjaccel.benchmark.sections_speed import (
    NO_GPU,
    has_gpu,
    pays_words,
    roofline_section,
    speedup_section,
    throughput_section,
)
from vjaccel.pages.marks import Mark
from vjaccel.pages.page import Section, write_page
from vjaccel.pages.words import percent, times

__all__ = ["write_report"]

UNQUIET = 0.25
"""A clock's spread above which the report begins with it."""


def write_report(run: Run, path: str | Path) -> None:
    """Write the report of `run` to `path`.

    Raises
    ------
    MissingExtra
        plotly is not installed.
    OutputError
        The file cannot be written.
    """
    look = _look(run)
    lead = f"{run.machine.cpu}, {run.machine.cores} cores, {run.machine.system}; vjaccel {run.vjaccel}, {run.started}."
    sections = [
        _short(run),
        speedup_section(run, look),
        refused_section(run),
        throughput_section(run, look),
        roofline_section(run, look),
        costs_section(run),
        embedding_section(run, look),
        recall_section(run, look),
        noise_section(run, look),
        machine_section(run),
    ]
    write_page(path, "vjaccel bench", lead, sections)


def _look(run: Run) -> dict[Series, Mark]:
    """Marks for every series in the order of the subjects, also for a subject that only embeds or only has codes."""
    order = {s.name: i for i, s in enumerate(run.subjects)}
    found = {c.series for c in counted(run)}
    found |= {
        Series(s.name, "device" if is_gpu(s.device) else "host", is_gpu(s.device))
        for s in run.subjects
        if not any(x.subject == s.name for x in found)
    }
    return marks(sorted(found, key=lambda s: (order[s.subject], s.origin)))


def _short(run: Run) -> Section:
    """What one would want to know first."""
    kept = counted(run)
    refused = sum(m.refused is not None for m in run.measurements) + sum(e.refused is not None for e in run.embedding)
    failed = [s.name for s in run.subjects if s.state in ("crashed", "hung", "failed")]
    points = []
    if run.machine.clock_spread > UNQUIET:
        points.append(
            f"The machine was not quiet: the same work varied by {percent(run.machine.clock_spread)} through the run, and "
            "smaller differences than that say nothing."
        )
    points += [_fastest_point(run, operation) for operation in dict.fromkeys(one.operation for one in speedups(run))]
    if has_gpu(run):
        points += _pays_points(run)
    else:
        points.append(NO_GPU)
    points.append(
        f"{len(kept)} figures count, {refused} were refused"
        + (f"; {', '.join(failed)} did not come to the end." if failed else "; every subject came to its end.")
    )
    if run.stopped_by:
        points.append(f"The run was stopped by {_STOPS[run.stopped_by]}: what had been measured until then is here.")
    if run.machine.clock_spread <= UNQUIET:
        points.append(f"The machine's clock varied by {percent(run.machine.clock_spread)} through the run.")
    return Section("short", "In short", points=points)


def _fastest_point(run: Run, operation: str) -> str:
    """The fastest of an operation, if it is by more than the noise."""
    others = [one for one in speedups(run) if one.operation == operation and one.series.subject != BASELINE]
    ahead = [one for one in others if one.mean > 1 and one.faster]
    if not others:
        return f"{operation}: measured with {BASELINE} alone."
    if not ahead:
        return f"{operation}: nothing is faster than {BASELINE} by more than the noise."
    best = max(ahead, key=lambda one: one.mean)
    cases = sum(c.operation == operation for c in run.cases)
    return (
        f"{operation}: {best.series.label} is {times(best.mean)} as {BASELINE} over {len(best.ratios)} of {cases} cases, "
        f"in {best.faster} of them by more than the noise."
    )


def _pays_points(run: Run) -> list[str]:
    """For each operation, metric and dtype the GPU that pays earliest, with its data on it and from the host."""
    groups: dict[str, list[Pays]] = defaultdict(list)
    for p in pays(run):
        groups[" ".join(filter(None, (p.operation, p.metric, p.dtype)))].append(p)
    found = []
    for name, group in groups.items():
        ways = []
        for origin, words in (("device", "with the data on it"), ("host", "with data from the host")):
            own = [p for p in group if p.series.origin == origin]
            if own:
                best = min(own, key=lambda p: (p.start.flops if p.start else math.inf, -p.most))
                ways.append(f"{words} {pays_words(best)}" + (f" ({best.series.subject})" if best.start else ""))
        found.append(f"A GPU pays for {name} {'; '.join(ways)}.")
    return found


_STOPS = {"budget": "its time budget", "interrupt": "an interrupt"}
