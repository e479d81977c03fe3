"""From ``provider:model``, or a function, to a provider."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vjaccel.arrays.devices import are_several, listed
from vjaccel.arrays.threads import processors
from vjaccel.embedding.providers.function import FunctionProvider
from vjaccel.embedding.providers.protocol import OnDevices, Provider, ProviderOptions
from vjaccel.errors import BackendUnavailable, InvalidInput, InvalidType, ModelUnavailable, UnknownProvider

__all__ = ["check_registered", "make_provider", "make_providers"]

GROUP = "vjaccel.providers"


def check_registered(model: str) -> None:
    """Refuse a name of no provider, before anything is begun with it.

    Raises
    ------
    UnknownProvider
    ModelUnavailable
        As `make_provider` would.
    """
    _registered(model)


def make_provider(model: str | Callable[..., Any], options: ProviderOptions, name: str | None = None) -> Provider:
    """The provider that `model` names, or that calls `model`, a function known by `name`.

    Raises
    ------
    UnknownProvider
        Nobody registers that provider.
    ModelUnavailable
        The provider's own module fails to import, or several distributions register it.
    InvalidType
        `model` is neither text nor a function.
    """
    if callable(model):
        return FunctionProvider(model, options, name)
    made, rest = _registered(model)
    return made(rest, options)


def make_providers(
    model: str | Callable[..., Any], options: ProviderOptions, name: str | None = None
) -> dict[str, Provider]:
    """A provider for each of the devices that `options` lists, as ``gpu:0,1,cpu`` or ``gpu:all``; or the one, by no name.

    Raises
    ------
    InvalidInput
        It is no list, or names a device twice, or the model is a function.
    BackendUnavailable
        One of them is not there.
    UnknownProvider, ModelUnavailable, InvalidType
    """
    if not are_several(options.device):
        return {"": make_provider(model, options, name)}
    if callable(model):
        raise InvalidInput(f"device={options.device!r}: a function computes where it likes; give it no list of devices")
    made, rest = _registered(model)
    seen: tuple[str, ...] = tuple(made.devices()) if isinstance(made, OnDevices) else ()
    devices = listed(options.device, lambda: seen)
    for device in devices if seen else ():
        # Before any has loaded the model.
        if device not in seen:
            kind = model.partition(":")[0]
            raise BackendUnavailable(
                f"there is no device {device!r} for {kind} models: there are {', '.join(seen)}",
                reason=f"no device {device!r}",
            )
    return {device: made(rest, _options_on(device, options, len(devices) - 1)) for device in devices}


def _options_on(device: str, options: ProviderOptions, others: int) -> ProviderOptions:
    workers = options.workers
    if device == "cpu" and others and workers is None:
        # Each other device has a core that feeds it, and one tokenises for all.
        workers = max(1, processors() - others - 1)
    return replace(options, device=device, workers=workers)


def _registered(model: str) -> tuple[Callable[[str, ProviderOptions], Provider], str]:
    """Who makes the provider that `model` names, and what it calls the model."""
    if not isinstance(model, str):
        raise InvalidType(f"model is 'provider:name' or a function, not {type(model).__name__}")
    known, _, rest = model.partition(":")
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    if not rest or known not in found:
        raise UnknownProvider(_unknown(model, sorted(found)))
    if len(found[known]) > 1:
        both = " and ".join(f"{e.dist.name if e.dist else '?'} ({e.value})" for e in found[known])
        raise ModelUnavailable(f"several distributions register the provider {known!r}, uninstall all but one: {both}")
    (entry,) = found[known]
    try:
        made: Callable[[str, ProviderOptions], Provider] = entry.load()
    except Exception as exc:
        raise ModelUnavailable(
            f"the provider {known!r} cannot be imported from {entry.value}: {type(exc).__name__}: {exc}"
        ) from exc
    return made, rest


def _unknown(model: str, known: list[str]) -> str:
    name, colon, rest = model.partition(":")
    if not name or not colon:
        hint = f"; did you mean 'local:{rest or name}'?" if rest or name else "."
        return f"model {model!r} names no provider{hint} Providers: {', '.join(known)}"
    if name in known:
        return f"model {model!r} names no model of the provider {name!r}; write '{name}:NAME'"
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no provider is registered as {name!r}{hint}; registered: {', '.join(known)}"
