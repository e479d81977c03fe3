"""Options of `vjaccel embed` alone, in the order in which its help has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vjaccel.cli.embed_asked import InputFormat
from vjaccel.embedding.precision import Precision
from vjaccel.observe import HOST, STALLED

__all__ = [
    "AsJson",
    "Dimensions",
    "DryRun",
    "EngineOption",
    "IdField",
    "InputFiles",
    "InputFormatOption",
    "MaxErrors",
    "MetricsHost",
    "MetricsPort",
    "Output",
    "Overwrite",
    "PrecisionOption",
    "Price",
    "ReportPath",
    "Resources",
    "Restart",
    "Resume",
    "RetryFailed",
    "ShardRows",
    "Shards",
    "SkipBadLines",
    "StalledAfter",
    "TextField",
    "Timeout",
    "Watch",
    "Workers",
]

InputFiles = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Files: txt, jsonl, csv (each also .gz), parquet, also as s3://BUCKET/KEY; lance:DIR, a Lance dataset; "
        "- is standard input.",
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        help="A file to write: parquet, jsonl or npy; lance:DIR for a collection; - gives each row at once.",
    ),
]
TextField = Annotated[str, typer.Option(help="The field that holds the text.")]
IdField = Annotated[
    str | None, typer.Option(help="The field that holds the id. [default: id; without one, the row's number]")
]
InputFormatOption = Annotated[
    InputFormat | None,
    typer.Option(help="Instead of what a file's name says; standard input is jsonl if it begins with {, else txt."),
]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N|MIN:MAX",
        help="Batches at once, by default as many as pay; with --engine ray how many workers, by default 1: and no end.",
    ),
]
Dimensions = Annotated[int | None, typer.Option(min=1, help="Keep this many leading numbers of a vector (Matryoshka).")]
PrecisionOption = Annotated[
    Precision, typer.Option(help="What vectors are written as. int8 and uint8 are steps of the run's own ranges.")
]
EngineOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="torch|onnx|openvino|local|ray",
        help="What runs a local model on a CPU: torch, onnx, openvino; and where: local, this machine, or ray, a cluster. "
        "May be given for each. [default: torch and local]",
    ),
]
Resources = Annotated[
    str | None, typer.Option(help="Of each worker with --engine ray, as in gpu=1 or cpu=4,gpu=1. [default: cpu=1]")
]
Shards = Annotated[
    bool, typer.Option("--shards", help="The output is a folder of files of this format, part-00000 and so on.")
]
ShardRows = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Rows of each such file [default: 100000], and that a worker does at once [default: many first, few last].",
    ),
]
SkipBadLines = Annotated[bool, typer.Option("--skip-bad-lines", help="Pass over lines that are no rows.")]
Timeout = Annotated[float, typer.Option(help="Seconds for a batch of a remote provider, all attempts together.")]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew, whatever an earlier run has left.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on where an earlier run was stopped; so does the same command without it."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an output of which it is not known how it was made.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Embed only the rows that failed, and complete the output.")
]
MaxErrors = Annotated[int | None, typer.Option(min=0, help="Stop when more rows than this have failed.")]
Price = Annotated[
    float | None, typer.Option(min=0.0, help="Of a million tokens, in any currency: the cost is then said.")
]
ReportPath = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Write a page of what the run was like: an HTML file."),
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Show stages, workers, rates, batches and errors live, on a terminal.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read the inputs, count tokens, and write nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Serve /metrics, /healthz and /readyz for Prometheus here; 0 is any free port. If it is scraped, the command "
        "ends after one more scrape by each that does.",
    ),
]
MetricsHost = Annotated[
    str | None,
    typer.Option(help=f"Where: an address of this machine. Others let others read it. [default: {HOST}]"),
]
StalledAfter = Annotated[
    float | None,
    typer.Option(
        min=0.0, help=f"Seconds without anything coming of a run, for /healthz to say so. [default: {STALLED:g}]"
    ),
]
