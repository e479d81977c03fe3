"""`vjaccel doctor`: what a report of a problem should say, and what to do about what is missing."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vjaccel import __version__
from vjaccel.arrays import BackendInfo, backends, hardware
from vjaccel.arrays.registry import DEFAULT, backend_class, gpu_install
from vjaccel.embedding.models import PACKAGED, locate
from vjaccel.errors import MissingExtra, VjaccelError

__all__ = ["doctor"]

LIBRARIES = (
    "numpy", "numba", "array-api-compat", "threadpoolctl", "pyarrow", "torch", "sentence-transformers", "transformers",
    "jax", "cupy-cuda13x", "cupy-cuda12x",
)  # fmt: skip
VARIABLES = ("VJACCEL_", "HF_", "CUDA_VISIBLE_DEVICES", "NUMBA_", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "JAX_")
SECRET = ("TOKEN", "KEY", "SECRET")
MARKS = {True: Text("ok", style="green"), False: Text("!!", style="bold red"), None: Text("--", style="dim")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `ok` is False where something should be mended, None where something is not there."""

    subject: str
    found: str
    ok: bool | None = True


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Say what is here, and what to mend. The machine, the libraries, the backends, the model, the caches."""
    findings = [*_machine(), *_libraries(), *_computing(), *_model(), *_caches(), *_environment()]
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(style="bold", max_width=24, overflow="fold")
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(MARKS[finding.ok], finding.subject, Text(finding.found))
    Console(highlight=False, emoji=False).print(table)


def _machine() -> Iterator[Finding]:
    yield Finding("vjaccel", f"{__version__}, Python {platform.python_version()} ({sys.executable})")
    memory = psutil.virtual_memory()
    yield Finding(
        "machine",
        f"{platform.system()} {platform.machine()}, {psutil.cpu_count() or '?'} CPUs, "
        f"{memory.total / 1e9:.0f} GB memory, {memory.available / 1e9:.0f} GB of it free",
    )


def _libraries() -> Iterator[Finding]:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    yield Finding("libraries", ", ".join(found))


def _computing() -> Iterator[Finding]:
    rows = backends()
    yield from _gpu(rows)
    yield from _backends(rows)


def _gpu(rows: list[BackendInfo]) -> Iterator[Finding]:
    """The GPU, and loudly every library that is here and does not see it."""
    there, found = hardware.described()
    if there is not True:
        yield Finding("GPU", found, ok=None)
        return
    if hidden := hardware.hidden():
        yield Finding("GPU", f"{found}; hidden from this process by {hidden}", ok=None)
        return
    yield Finding("GPU", found)
    for row in rows:
        if row.usable and not any("gpu" in device for device in row.devices or ()) and (line := gpu_install(row.name)):
            yield Finding(
                "GPU", f"NOT USED by {row.name}: {row.reason or 'it sees no GPU'}. To use it: {line}", ok=False
            )


def _backends(rows: list[BackendInfo]) -> Iterator[Finding]:
    for row in rows:
        if row.usable:
            yield Finding(
                f"backend {row.name}", ", ".join(row.devices or ()) + (f"; {row.reason}" if row.reason else "")
            )
        else:
            reason = "; ".join(filter(None, (row.reason, row.install)))
            # What could be installed is nobody's trouble; what is, and fails, is.
            yield Finding(f"backend {row.name}", reason, None if row.install else False)


def _model() -> Iterator[Finding]:
    try:
        yield Finding("model", f"{PACKAGED} in {locate(PACKAGED, revision=None, allow_pickle=False)}")
    except ImportError:
        yield Finding("model", str(MissingExtra("embedding with local models", "minilm")), ok=None)
    except VjaccelError as exc:
        yield Finding("model", str(exc), ok=False)


def _caches() -> Iterator[Finding]:
    package = Path(sys.modules[backend_class(DEFAULT).__module__].__file__ or "").parent
    kernels = Path(os.environ.get("NUMBA_CACHE_DIR") or package)
    readable = "" if os.access(kernels, os.W_OK) else " cannot be written: the user's cache folder is used"
    yield Finding("kernel cache", f"{kernels}{readable}")
    try:
        from huggingface_hub import constants
    except ImportError:
        return
    yield Finding("hub cache", str(constants.HF_HUB_CACHE))


def _environment() -> Iterator[Finding]:
    for name, value in sorted(os.environ.items()):
        if name.startswith(VARIABLES):
            shown = "(set, not shown)" if any(word in name for word in SECRET) else value
            yield Finding(name, shown)
