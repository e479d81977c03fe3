"""Addresses of servers: whether one is whole, whether it is near, and what of it may be shown."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

from vjaccel.errors import InvalidInput

__all__ = ["checked_url", "is_local", "shown"]

LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".lan")


def checked_url(url: str) -> str:
    """The same `url`, if a request can be sent there.

    Raises
    ------
    InvalidInput
        It has no scheme, another one than http and https, or no host.
    """
    said = re.sub(r"[^/@]*@", "***@", url.partition("?")[0])
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # reading it is what checks it
    except ValueError as exc:
        raise InvalidInput(f"base_url {said!r} is no URL: {exc}") from None
    if "//" in url and parts.scheme not in ("http", "https", ""):
        raise InvalidInput(f"base_url {said!r} is of {parts.scheme}, and services are asked by http or https")
    if parts.scheme not in ("http", "https") or "//" not in url:
        raise InvalidInput(f"base_url {said!r} has no scheme: write it whole, as in 'http://localhost:8000/v1'")
    if not parts.hostname:
        raise InvalidInput(f"base_url {said!r} names no host: write it whole, as in 'http://localhost:8000/v1'")
    return url


def is_local(url: str) -> bool:
    """Whether the host is this machine or of a private network, as far as its name tells."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(LOCAL_ENDINGS)
    return address.is_private or address.is_loopback or address.is_link_local


def shown(url: str) -> str:
    """What may stand in files and errors: without a user, a password and a query, any of which may be secret."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    place = host if parts.port is None else f"{host}:{parts.port}"
    return urlunsplit(SplitResult(parts.scheme, place, parts.path.rstrip("/"), "", ""))
