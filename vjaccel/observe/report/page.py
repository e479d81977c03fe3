"""The report of a run: one HTML file that needs no network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vjaccel.errors import MissingExtra
from vjaccel.observe.report.account import Account
from vjaccel.observe.report.map import map_section
from vjaccel.observe.report.section_devices import devices_section
from vjaccel.observe.report.sections_run import failures_section, lengths_section, made_section, short_section
from vjaccel.observe.report.sections_speed import (
    batches_section,
    latency_section,
    machine_section,
    throughput_section,
    waiting_section,
)
from vjaccel.observe.report.spans import spans
from vjaccel.pages import check_writable, write_page

__all__ = ["check_report", "write_run_report"]


def check_report(path: Path) -> None:
    """Find out, before a run, whether its report could be written.

    Raises
    ------
    OutputError
        `path` cannot be written.
    MissingExtra
        plotly is not installed.
    """
    check_writable(path)
    try:
        import plotly.offline  # noqa: F401  # whether it can be imported is what is asked
    except ImportError as exc:
        raise MissingExtra("the report", "report") from exc


def write_run_report(account: Account, path: Path) -> None:
    """Write the report of a run to `path`.

    Raises
    ------
    OutputError, MissingExtra
    """
    # A run may go on while it is told of.
    account = replace(account, recording=account.recording.copy())
    recording = account.recording
    found = spans(recording)
    lead = f"{recording.model}, {recording.started.strftime('%Y-%m-%d %H:%M')} UTC; vjaccel {account.version}."
    sections = [
        short_section(account),
        throughput_section(account, found),
        batches_section(account),
        devices_section(account),
        latency_section(account),
        waiting_section(account, found),
        failures_section(account),
        machine_section(account, found),
        lengths_section(account),
        map_section(account),
        made_section(account),
    ]
    told = [section for section in sections if section is not None]
    write_page(path, f"vjaccel embed: {account.name}", lead, told)
