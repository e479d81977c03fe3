"""`vjaccel bench`: which backend pays on this machine, from which size on, and by how much."""

from __future__ import annotations

import importlib
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vjaccel.benchmark import results
from vjaccel.benchmark.cases import OPERATIONS, Size
from vjaccel.benchmark.run import Plan, measure
from vjaccel.cli import bench_tables
from vjaccel.errors import InvalidInput, MissingExtra
from vjaccel.io.whole import check_place
from vjaccel.observe import BudgetBar

__all__ = ["bench"]

INTERRUPTED = 130


def bench(
    ops: Annotated[
        str | None, typer.Option(metavar="A,B", help=f"Of {', '.join(OPERATIONS)}. [default: all]", show_default=False)
    ] = None,
    backends: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="As in numpy,jax,torch:gpu:1; peers by name, as in faiss, or all as peers. [default: all]",
            show_default=False,
        ),
    ] = None,
    sizes: Annotated[
        Size | None, typer.Option(help="How much is computed on. [default: default]", show_default=False)
    ] = None,
    embed: Annotated[bool, typer.Option("--embed", help="Measure embedding, too.")] = False,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The model for --embed. [default: the packaged one]", show_default=False),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="When to stop, the start of all included. [default: 120]", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="A report to write, .html, and its figures beside it; or those alone, .json."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Measure nothing: put two runs side by side.", show_default=False),
    ] = None,
) -> None:
    """Measure every backend, device and installed peer here. Each result is checked before its time counts."""
    options: dict[str, object] = {
        "--ops": ops, "--backends": backends, "--sizes": sizes, "--embed": embed or None, "--model": model, "--budget": budget,
    }  # fmt: skip
    given = [name for name, asked in options.items() if asked is not None]
    if compare is not None and given:
        raise InvalidInput(f"{given[0]} says what is measured, and --compare measures nothing: leave one of them out")
    _check(output, as_json=as_json, comparing=compare is not None)
    if compare is not None:
        _compared(results.load(compare[0]), results.load(compare[1]), compare, output)
        return
    plan = Plan(
        operations=None if ops is None else _list(ops), backends=None if backends is None else _list(backends),
        sizes=sizes or "default", embed=embed or model is not None, model=model, budget=120.0 if budget is None else budget,
        command=shlex.join(["vjaccel", *sys.argv[1:]]),
    )  # fmt: skip
    with BudgetBar() as bar:
        run = measure(plan, bar.show)
    if output is not None:
        # The figures first: whatever becomes of their picture, they are kept.
        results.save(run, output.with_suffix(".json"))
        if output.suffix == ".html":
            _drawing("report").write_report(run, output)
    if as_json:
        typer.echo(results.dumps(run), nl=False)
    else:
        bench_tables.show(run, Console(highlight=False, emoji=False))
        if output is not None:
            typer.echo(f"wrote {output}")
    if run.stopped_by == "interrupt":
        typer.echo("vjaccel: stopped; what was measured is kept", err=True)
        raise typer.Exit(INTERRUPTED)


def _compared(a: results.Run, b: results.Run, names: tuple[Path, Path], output: Path | None) -> None:
    if output is None:
        bench_tables.show_comparison(a, b, (str(names[0]), str(names[1])), Console(highlight=False, emoji=False))
    else:
        _drawing("compare").write_comparison(a, b, output)
        typer.echo(f"wrote {output}")


def _check(output: Path | None, *, as_json: bool, comparing: bool) -> None:
    """Find before the run what would lose its figures after it.

    Raises
    ------
    InvalidInput, MissingExtra, OutputError
    """
    if comparing and as_json:
        raise InvalidInput(
            "--json prints what a run has measured, and --compare measures nothing: leave one of them out"
        )
    if output is None:
        return
    kinds = (".html",) if comparing else (".html", ".json")
    if output.suffix not in kinds:
        raise InvalidInput(f"{output} is none of {', '.join(kinds)}, which can be written")
    for path in [output] if comparing else dict.fromkeys((output, output.with_suffix(".json"))):
        check_place(path)
    if output.suffix == ".html":
        _drawing("report")


def _drawing(what: str) -> Any:
    """What draws reports, and comparisons of them; its library is an extra."""
    if find_spec("plotly") is None:
        raise MissingExtra("a report", "report")
    return importlib.import_module(f"vjaccel.benchmark.{what}")


def _list(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]
