"""The dashboard and the alert rules, as files for Grafana and Prometheus."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from vjaccel.errors import OutputError

__all__ = ["ASSETS", "export"]

ASSETS = ("dashboard.json", "alerts.yml")


def export(folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write them into `folder`, which is made; which files they are.

    Raises
    ------
    OutputError
        One is there already, and is not to be overwritten; then nothing is written.
    OSError
    """
    paths = [folder / name for name in ASSETS]
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise OutputError(f"there is already {' and '.join(there)}: --overwrite replaces what is there")
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        path.write_bytes((files("vjaccel.observe") / "assets" / path.name).read_bytes())
    return paths
