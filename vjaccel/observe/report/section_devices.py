"""What each of several devices did: a section of the report."""

from __future__ import annotations

from vjaccel.observe.report.account import Account
from vjaccel.pages.page import Section, Table
from vjaccel.pages.words import UNKNOWN, counted, duration, percent, speed
from vjaccel.telemetry import OfDevice

__all__ = ["devices_section"]

HEAD = ["device", "texts", "tokens", "batches", "time of its batches", "speed of one", "busy", "taken out"]


def devices_section(account: Account) -> Section | None:
    """Of a run whose model is on several; None of one on one device."""
    found = account.recording.devices
    if not found:
        return None
    words = [
        "Each device takes the next batch when it is free. Busy is the share of the time that it was there in which it had "
        "at least one; the time of its batches is the sum of those that came back, some of which it may have had at once."
    ]
    others = ", and the others did its work" if any(one.taken_out is None for one in found.values()) else ""
    words += [
        f"{name} was taken out{others}: {one.taken_out.rstrip('.')}."
        for name, one in found.items()
        if one.taken_out is not None
    ]
    beside = sum(one.texts for one in account.recording.budgets.values()) - sum(one.texts for one in found.values())
    if beside > 0:
        were = "was" if beside == 1 else "were"
        words.append(f"{counted(beside, 'text')} beside these {were} embedded by calls that had one device.")
    rows = [_row(name, one) for name, one in found.items()]
    return Section("devices", "Devices", words=words, tables=[Table("What each device did", HEAD, rows)])


def _row(name: str, one: OfDevice) -> list[str]:
    return [
        name,
        f"{one.texts:,}",
        UNKNOWN if one.tokens is None else f"{one.tokens:,}",
        f"{one.batches:,}",
        duration(one.seconds),
        speed(one.tokens / one.seconds if one.tokens and one.seconds else None, "tokens/s"),
        percent(one.share_busy),
        "no" if one.taken_out is None else "yes",
    ]
