"""How a run over files stands when it is called: not begun, begun, finished, or in the way of another one's output."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

from vjaccel.embedding.journal import changed
from vjaccel.errors import OutputError

__all__ = ["RUN_SUFFIX", "Standing", "journal_path", "manifest_of", "run_path", "standing", "written_by"]

RUN_SUFFIX = ".run.json"


class Standing(StrEnum):
    """What is there of a run."""

    NEW = "new"
    BEGUN = "begun"
    FINISHED = "finished"


def journal_path(output: Path) -> Path:
    """The folder in which a run over files keeps what it has done."""
    return output.with_name(f"{output.name}.journal")


def run_path(output: Path) -> Path:
    """Where the manifest of the run that wrote `output` is."""
    return output.with_name(f"{output.name}{RUN_SUFFIX}")


def manifest_of(output: Path) -> dict[str, Any] | None:
    """What the run that wrote `output` said of itself; None where nothing does."""
    try:
        found = json.loads(run_path(output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("run"), dict) else None


def written_by(output: Path, run: dict[str, Any]) -> bool:
    """Whether the run that `run` describes wrote `output`."""
    manifest = manifest_of(output)
    return manifest is not None and output.exists() and not changed(manifest["run"], json.loads(json.dumps(run)))


def standing(output: Path, run: dict[str, Any], *, overwrite: bool) -> Standing:
    """How the run that `run` describes stands; `overwrite` is whether an output that nobody knows of may be replaced.

    Raises
    ------
    OutputError
        The output is another run's, or nobody's that is known.
    """
    if journal_path(output).is_dir():
        return Standing.BEGUN
    manifest = manifest_of(output)
    if not output.exists() or (overwrite and manifest is None):
        return Standing.NEW
    if manifest is None:
        raise OutputError(f"{output} is there, and nothing says that this run wrote it: --overwrite would replace it")
    differences = changed(manifest["run"], json.loads(json.dumps(run)))
    if differences:
        raise OutputError(f"{output} is another run's: {'; '.join(differences)}. --restart would write it anew")
    return Standing.FINISHED
