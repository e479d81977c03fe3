"""`vjaccel report`: the page of a run over files, from what it has kept of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vjaccel.cli.embed_reported import account_of, check_path
from vjaccel.engines import kept_run
from vjaccel.observe.report import write_run_report

__all__ = ["report"]


def report(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="OUT.run.json, OUT, or OUT.journal of a run that has not ended.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The page to write. [default: OUT.report.html]"),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0.0, help="Of a million tokens, in any currency: the cost is then said.")
    ] = None,
) -> None:
    """Write a page of what a run of `vjaccel embed` was like, also of one that was stopped or killed."""
    kept = kept_run(run)
    path = output or kept.output.with_name(f"{kept.output.name}.report.html")
    check_path(path, kept.inputs, kept.output)
    write_run_report(account_of(kept, price), path)
    typer.echo(f"wrote {path}" + ("" if kept.ended else f": the run of {kept.output} has not ended"))
