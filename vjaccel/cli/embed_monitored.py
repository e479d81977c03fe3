"""`vjaccel embed --metrics-port`: a run that Prometheus watches."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from vjaccel.observe import Monitor, View

__all__ = ["monitored"]


def monitored(port: int | None, host: str, stalled_after: float, bar: View) -> AbstractContextManager[object]:
    """What a run is inside of that serves its metrics, and says where; of one that does not, nothing.

    Raises
    ------
    InvalidInput, MissingExtra
    """
    if port is None:
        return nullcontext()
    monitor = Monitor(port, host, stalled_after=stalled_after)
    bar.say(f"vjaccel: metrics are at {monitor.url}/metrics")
    return monitor
