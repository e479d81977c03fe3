"""Options that more than one command has: each is said once."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from vjaccel.observe import LogFormat, LogLevel

__all__ = [
    "Address",
    "AllowPickle",
    "Backend",
    "BaseUrl",
    "BatchTokens",
    "Cache",
    "Count",
    "Device",
    "Dtype",
    "LogFormatOption",
    "LogLevelOption",
    "Model",
    "Prompt",
    "QueryBaseUrl",
    "QueryDevice",
    "QueryModel",
    "QueryPrompt",
    "RequestsPerMinute",
    "SharedLimits",
    "TokensPerMinute",
    "Truncate",
    "TrustRemoteCode",
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
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Load weights that are pickled, which can run any code.")
]
RequestsPerMinute = Annotated[int | None, typer.Option(min=1, help="To a remote provider, in any minute.")]
TokensPerMinute = Annotated[int | None, typer.Option(min=1, help="To a remote provider, in any minute.")]
SharedLimits = Annotated[
    str | None, typer.Option(help="redis://HOST, where these two are counted for all that name it.")
]
Cache = Annotated[
    str | None,
    typer.Option(help="Where vectors are kept for other runs: disk, a folder, redis://HOST; none by default."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of a Ray cluster: auto, HOST:PORT, ray://HOST:PORT. [default: RAY_ADDRESS, or a Ray of its own here]"
    ),
]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="What is said on standard error: text, or lines of json.")
]
LogLevelOption = Annotated[
    LogLevel | None,
    typer.Option("--log-level", help="From which on: debug, info, warning, error. [default: warning; info of json]"),
]

# Of a search, whose query is embedded by the model that made the vectors.
Count = Annotated[int, typer.Option("-k", min=1, help="How many rows.")]
Backend = Annotated[str | None, typer.Option(help="As in numpy, torch:gpu, jax.")]
QueryModel = Annotated[
    str | None,
    typer.Option(help="Where the model of the vectors is, if not where it was. Another one is refused."),
]
QueryDevice = Annotated[str, typer.Option(help="For the model: auto, cpu, gpu, gpu:1, mps.")]
QueryPrompt = Annotated[str | None, typer.Option(help="Put before the query. [default: the model's own for queries]")]
QueryBaseUrl = Annotated[
    str | None,
    typer.Option(help="Where a remote provider's service is. [default: where the vectors say, on this machine]"),
]
