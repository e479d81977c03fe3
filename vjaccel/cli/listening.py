"""Where a service listens: found out before a model is loaded, on the machine that will listen."""

from __future__ import annotations

import socket

from vjaccel.errors import OutputError

__all__ = ["free_place", "listening"]


def listening(host: str, port: int) -> socket.socket:
    """A socket there.

    Raises
    ------
    OutputError
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(2048)
    except OSError as exc:
        made.close()
        raise OutputError(f"cannot listen at {host}:{port}: {exc.strerror or exc}") from exc
    return made


def free_place(host: str, port: int) -> tuple[str, int]:
    """The address and the port there at which this machine can listen; of port 0 one that is free.

    Raises
    ------
    OutputError
    """
    with listening(host, port) as made:
        found: tuple[str, int] = made.getsockname()[:2]
        return found
