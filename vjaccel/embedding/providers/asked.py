"""What is asked of a provider: values that make no sense, and options that it cannot do anything with, are refused."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields

from vjaccel.embedding.arguments import check_whole
from vjaccel.embedding.providers.protocol import ProviderOptions
from vjaccel.embedding.providers.urls import checked_url
from vjaccel.errors import InvalidInput

__all__ = ["check_options", "refuse_others"]

HARMLESS = {"workers", "batch_tokens", "trust_remote_code", "allow_pickle"}
"""How much at once is for every provider; what is allowed and not needed does nothing."""


def refuse_others(options: ProviderOptions, able: Collection[str], message: str) -> None:
    """Refuse what was asked and is none of `able`.

    Parameters
    ----------
    message : str
        What is said before a colon and the names.

    Raises
    ------
    InvalidInput
    """
    refused = [
        field.name
        for field in fields(options)
        if getattr(options, field.name) != field.default and field.name not in HARMLESS and field.name not in able
    ]
    if refused:
        raise InvalidInput(f"{message}: {', '.join(refused)}= cannot be given with it")


def check_options(options: ProviderOptions) -> None:
    """Check the values of what is asked, whatever provider it is asked of.

    Raises
    ------
    InvalidInput
    """
    for name in ("workers", "batch_tokens", "dimensions", "requests_per_minute", "tokens_per_minute"):
        value = getattr(options, name)
        if value is not None:
            check_whole(name, value)
    if options.truncate not in ("end", "error", "chunk"):
        raise InvalidInput(f"truncate {options.truncate!r} is none of end, error, chunk")
    if options.base_url is not None:
        checked_url(options.base_url)
    timeout: object = options.timeout
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):
        raise InvalidInput(f"timeout is a number of seconds above 0, not {timeout!r}")
    if options.shared_limits is not None and options.requests_per_minute is None and options.tokens_per_minute is None:
        raise InvalidInput("shared_limits shares requests_per_minute and tokens_per_minute: give one of them, or both")
