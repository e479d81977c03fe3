"""`vjaccel monitor`: what others need to watch runs with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vjaccel.observe import export

__all__ = ["monitor"]

monitor = typer.Typer(
    name="monitor", help="A dashboard and alerts for the metrics of runs.", no_args_is_help=True, rich_markup_mode=None
)


@monitor.callback()
def _about() -> None:
    """A dashboard and alerts for the metrics of runs."""


@monitor.command(name="export")
def export_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder; it is made.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files that are there.")] = False,
) -> None:
    """Write dashboard.json for Grafana and alerts.yml for Prometheus: see docs/monitoring.md."""
    for path in export(folder, overwrite=overwrite):
        typer.echo(str(path))
