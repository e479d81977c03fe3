"""From ``provider:model``, or a function, to a provider."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from vjaccel.embedding.providers.function import FunctionProvider
from vjaccel.embedding.providers.protocol import Provider, ProviderOptions
from vjaccel.errors import InvalidType, ModelUnavailable, UnknownProvider

__all__ = ["make_provider"]

GROUP = "vjaccel.providers"


def make_provider(model: str | Callable[..., Any], options: ProviderOptions) -> Provider:
    """The provider that `model` names, or that calls `model`.

    Raises
    ------
    UnknownProvider
        Nobody registers that provider.
    ModelUnavailable
        The provider's own module fails to import.
    InvalidType
        `model` is neither text nor a function.
    """
    if callable(model):
        return FunctionProvider(model, options)
    if not isinstance(model, str):
        raise InvalidType(f"model is 'provider:name' or a function, not {type(model).__name__}")
    name, colon, rest = model.partition(":")
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not colon or not rest or name not in found:
        raise UnknownProvider(_unknown(model, name if colon else "", sorted(found)))
    try:
        made: Callable[[str, ProviderOptions], Provider] = found[name].load()
    except Exception as exc:
        raise ModelUnavailable(
            f"the provider {name!r} cannot be imported from {found[name].value}: {type(exc).__name__}: {exc}"
        ) from exc
    return made(rest, options)


def _unknown(model: str, name: str, known: list[str]) -> str:
    if not name:
        return f"model {model!r} names no provider; did you mean 'local:{model}'? Providers: {', '.join(known)}"
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no provider is registered as {name!r}{hint}; registered: {', '.join(known)}"
