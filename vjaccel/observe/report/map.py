"""The map of a sample of the vectors, as a section of the report."""

from __future__ import annotations

import textwrap

import numpy as np

from vjaccel.observe.report.account import Account
from vjaccel.observe.report.near import ALIKE, COMPANY, Picture, pictured
from vjaccel.observe.report.sample import Row, beginning
from vjaccel.pages.marks import Mark, colour
from vjaccel.pages.page import Fold, Plot, Section, Table
from vjaccel.pages.plots import Axis, Dot, Line, dots_plot, linear
from vjaccel.pages.words import counted, percent

__all__ = ["map_section"]

LISTED = 20
"""Groups and outliers in a table, at most."""

EXAMPLES = 3
"""Texts of a group in the table."""

HOVER = 32
"""Characters of a line that is shown beside a dot."""

KINDS = {
    "a row": Mark(colour(0), "circle", True),
    "near duplicate": Mark(colour(2), "diamond", True),
    "outlier": Mark(colour(1), "x", True),
}
SIZES = {"a row": 5, "near duplicate": 8, "outlier": 10}


def map_section(account: Account) -> Section:
    """The map, or why there is none."""
    sample = account.sample
    title = "A map of the vectors"
    if sample is None or not sample.seen:
        return Section("map", title, words=[f"There is no map: {account.no_map or 'no row has a vector'}."])
    rows = sample.rows
    if len(rows) < 3:
        return Section("map", title, words=["There is no map: fewer than three rows have a vector."])
    picture = pictured(sample.vectors)
    of = (
        f"{len(rows):,} of {sample.seen:,} rows, taken at random"
        if sample.seen > len(rows)
        else f"all {len(rows):,} rows"
    )
    words = [
        f"Of {of}: what lies near here is often alike, and what is alike lies near; the two directions hold "
        f"{percent(sum(picture.shares))} of what differs between the vectors. A dot shows {_shows(rows)}."
    ]
    if not sum(picture.shares):
        words = [f"Of {of}: all of their vectors are the same."]
    words += _sentences(picture, len(rows))
    return Section(
        "map", title, words=words, legend=[(name, mark) for name, mark in KINDS.items() if _of_kind(picture, len(rows))[name]],
        plots=[_plot(rows, picture)], tables=[*_groups(rows, picture), *_outliers(rows, picture)],
    )  # fmt: skip


def _shows(rows: list[Row]) -> str:
    if any(row.text for row in rows):
        return "the beginning of its text"
    return "which row it is; its text is not kept beside the vectors"


def _sentences(picture: Picture, rows: int) -> list[str]:
    found = []
    among = "among these rows"
    if picture.groups:
        many = sum(map(len, picture.groups))
        found.append(
            f"{many:,} of them are near duplicates, in {counted(len(picture.groups), 'group')}: each has one of a cosine of at "
            f"least {ALIKE} in its group. They are looked for {among} alone."
        )
    else:
        found.append(f"No two {among} have a cosine of {ALIKE} or more.")
    if picture.usual is None:
        found.append("They are too few to say which of them are outliers.")
    elif picture.outliers:
        found.append(
            f"Outliers, far from the {COMPANY} rows that are nearest to them: {len(picture.outliers):,}. The mean cosine "
            f"to those is {picture.usual:.2f} over all rows."
        )
    else:
        found.append("No row is an outlier: none is far from all others.")
    return found


def _of_kind(picture: Picture, rows: int) -> dict[str, list[int]]:
    alike = {i for group in picture.groups for i in group}
    apart = {i for i, _ in picture.outliers} - alike
    return {
        "a row": [i for i in range(rows) if i not in alike and i not in apart],
        "near duplicate": sorted(alike),
        "outlier": sorted(apart),
    }


def _plot(rows: list[Row], picture: Picture) -> Plot:
    lines = [
        Line(name, KINDS[name], [[_dot(rows[i], picture.places[i]) for i in some]], joined=False, size=SIZES[name])
        for name, some in _of_kind(picture, len(rows)).items()
        if some
    ]
    x, y = (
        _axis(f"{name} direction: {percent(share)}", picture.places[:, i])
        for i, (name, share) in enumerate(zip(("first", "second"), picture.shares, strict=True))
    )
    says = "Rows as dots, near where their vectors are alike. The tables name near duplicates and outliers."
    return dots_plot("Principal components", says, lines, x, y, height=460)


def _axis(title: str, values: np.ndarray) -> Axis:
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-12:
        low, high = low - 1.0, high + 1.0
    return linear(title, low, high, lambda x: f"{x:.3g}" if abs(x) > 1e-12 else "0")


def _dot(row: Row, place: np.ndarray) -> Dot:
    lines = [
        *textwrap.wrap(row.name, HOVER, max_lines=2, placeholder="…"),
        *textwrap.wrap(row.text, HOVER, max_lines=5, placeholder="…"),
    ]
    return Dot(round(float(place[0]), 5), round(float(place[1]), 5), "\n".join(lines))


def _groups(rows: list[Row], picture: Picture) -> list[Fold]:
    table = [
        [rows[group[0]].name, f"{len(group):,}", f"{closest:.3f}", " / ".join(_said(rows[i]) for i in group[:EXAMPLES])]
        for group, closest in zip(picture.groups[:LISTED], picture.closest, strict=False)
    ]
    caption = "Near duplicates, the largest groups first" if len(picture.groups) > LISTED else "Near duplicates"
    head = ["first row", "rows", "highest cosine", "texts" if any(row.text for row in rows) else "some of them"]
    return [Fold(Table(caption, head, table))] if table else []


def _outliers(rows: list[Row], picture: Picture) -> list[Fold]:
    head = ["row", "mean cosine to the nearest", *(["text"] if any(row.text for row in rows) else [])]
    table = [[rows[i].name, f"{near:.3f}", _said(rows[i])][: len(head)] for i, near in picture.outliers[:LISTED]]
    caption = "Outliers, the farthest first" if len(picture.outliers) > LISTED else "Outliers"
    return [Fold(Table(caption, head, table))] if table else []


def _said(row: Row) -> str:
    return beginning(row.text, 80) or row.name
