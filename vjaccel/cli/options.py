"""Options that more than one command has: each is said once."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from vjaccel.observe import LogFormat, LogLevel

__all__ = [
    "BaseUrl",
    "BatchTokens",
    "Cache",
    "Device",
    "Dtype",
    "LogFormatOption",
    "LogLevelOption",
    "Model",
    "Prompt",
    "RequestsPerMinute",
    "SharedLimits",
    "TokensPerMinute",
    "Truncate",
]

Model = Annotated[
    str,
    typer.Option(
        help="local:NAME, where NAME is a folder, a packaged model, or one of the hub; or a remote provider's, as "
        "openai:NAME, cohere:NAME, voyage:NAME, google:NAME, ollama:NAME, azure:NAME."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, gpu, gpu:1, mps; several, as gpu:0,1 or gpu:all.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, float16, bfloat16: what the model computes in.")]
BatchTokens = Annotated[int | None, typer.Option(min=1, help="Tokens of a batch, padding included.")]
Prompt = Annotated[str | None, typer.Option(help="Put before every text. [default: the model's own for documents]")]
Truncate = Annotated[
    Literal["end", "error", "chunk"],
    typer.Option(help="Of texts that are too long: their end is cut off, an error, or windows' mean (chunk)."),
]
BaseUrl = Annotated[str | None, typer.Option(help="Where a remote provider's service is, used as given.")]
RequestsPerMinute = Annotated[int | None, typer.Option(min=1, help="To a remote provider, in any minute.")]
TokensPerMinute = Annotated[int | None, typer.Option(min=1, help="To a remote provider, in any minute.")]
SharedLimits = Annotated[
    str | None, typer.Option(help="redis://HOST, where these two are counted for all that name it.")
]
Cache = Annotated[
    str | None,
    typer.Option(help="Where vectors are kept for other runs: disk, a folder, redis://HOST; none by default."),
]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="What is said on standard error: text, or lines of json.")
]
LogLevelOption = Annotated[
    LogLevel | None,
    typer.Option("--log-level", help="From which on: debug, info, warning, error. [default: warning; info of json]"),
]
