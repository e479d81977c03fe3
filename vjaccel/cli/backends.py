"""`vjaccel backends`: what works here, and how to install what does not."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vjaccel.arrays import registry

__all__ = ["backends"]


def backends(as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False) -> None:
    """List the backends, and what works here. With versions, devices, and how to install what is missing."""
    rows = registry.backends()
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("backend", "version", "devices", "remarks"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        remarks = "\n".join(filter(None, (row.reason, row.install)))
        devices = Text(", ".join(row.devices), style="green") if row.devices else Text("none", style="red")
        table.add_row(row.name, row.version or "", devices, Text(remarks, style="dim"))
    Console(highlight=False, emoji=False).print(table)
