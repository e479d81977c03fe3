"""A small table for a notebook, in its own colours, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["small_table"]


def small_table(caption: str, rows: Sequence[tuple[str, str]]) -> str:
    """Names and values as HTML; both are text, and escaped."""
    cell = "text-align:left;padding:.15em .8em .15em 0;vertical-align:top;overflow-wrap:anywhere"
    body = "".join(
        f'<tr><th scope="row" style="{cell};font-weight:normal;opacity:.75;white-space:nowrap">{escape(name)}</th>'
        f'<td style="{cell}">{escape(value)}</td></tr>'
        for name, value in rows
    )
    head = f'<caption style="text-align:left;font-weight:bold">{escape(caption)}</caption>'
    return f'<table style="color:inherit;background:none">{head}<tbody>{body}</tbody></table>'
