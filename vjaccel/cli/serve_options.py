"""Options of `vjaccel serve` alone, in the order in which its help has them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

__all__ = [
    "BatchesAtOnce",
    "Drain",
    "Host",
    "MaxBody",
    "MaxLatency",
    "MaxTexts",
    "MaxWaiting",
    "Names",
    "Port",
    "ReplicaResources",
    "Replicas",
    "ServeEngine",
]

Host = Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets others in.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free, and says which.")]
Names = Annotated[
    list[str] | None,
    typer.Option(help="What requests may call the model, beside its own name; may be given again."),
]
BatchesAtOnce = Annotated[int | None, typer.Option(min=1, help="Batches at once.")]
ServeEngine = Annotated[
    Literal["local", "ray"], typer.Option(help="Where: this process, or replicas on a Ray cluster.")
]
Replicas = Annotated[
    str | None,
    typer.Option(metavar="N|MIN:MAX", help="How many with --engine ray, by the requests that there are. [default: 1]"),
]
ReplicaResources = Annotated[
    str | None, typer.Option(help="Of each replica, as in gpu=1 or cpu=4,gpu=1. [default: cpu=1]")
]
MaxTexts = Annotated[int, typer.Option(min=1, help="In one request.")]
MaxBody = Annotated[int, typer.Option(min=1, help="Bytes of one request.")]
MaxWaiting = Annotated[
    int,
    typer.Option(min=1, help="Texts that may wait in all, of each replica; then requests are answered with 429."),
]
MaxLatency = Annotated[
    float, typer.Option(min=0.0, help="Seconds that a text may wait for others to be embedded with.")
]
Drain = Annotated[float, typer.Option(min=0.0, help="Seconds that requests have when the service is stopped.")]
