"""How a run over files stands when it is called: not begun, begun, finished, or in the way of another one's output."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from vjaccel.embedding import ModelIdentity
from vjaccel.embedding.journal_folder import Kept, changed, described
from vjaccel.embedding.precision import Quantizer
from vjaccel.errors import InvalidInput, OutputError
from vjaccel.io import Inputs, stored_vectors
from vjaccel.telemetry import Recording

__all__ = [
    "RUN_SUFFIX",
    "FileRun",
    "Model",
    "Standing",
    "described_run",
    "how_made",
    "journal_path",
    "manifest_of",
    "run_path",
    "settled_before",
    "standing",
    "taken_up",
]

RUN_SUFFIX = ".run.json"


class Model(Protocol):
    """What a run must know of its model, wherever that is: an `Embedder` has it."""

    @property
    def identity(self) -> ModelIdentity: ...
    @property
    def dim(self) -> int | None: ...
    def prompt_for(self, role: Literal["query", "document"] | None) -> str: ...
    def quantizer(self) -> Quantizer: ...


@dataclass(frozen=True, slots=True)
class FileRun:
    """What a run over files is asked.

    Attributes
    ----------
    output : Path
    restart : bool
        Begin anew, whatever is there.
    overwrite : bool
        Replace an output that nothing is known of.
    retry_failed : bool
        Embed only the rows that failed, and complete the output.
    max_errors : int or None
        Stop when more rows than this have failed.
    part_rows : int or None
        Rows of each file of an output that is a folder of them; None for one that is a file.
    """

    output: Path
    restart: bool = False
    overwrite: bool = False
    retry_failed: bool = False
    max_errors: int | None = None
    part_rows: int | None = None

    @property
    def goes_on(self) -> str:
        """What goes on where this run is stopped."""
        return "the same command without --restart" if self.restart else "the same command"


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


def recording_of(output: Path) -> Recording | None:
    """What the run that wrote `output` was like; None where nothing that can be read says so."""
    try:
        return Recording.from_dict((manifest_of(output) or {}).get("recording") or {})
    except ValueError:
        return None


def taken_up(output: Path, run: dict[str, Any]) -> bool:
    """Whether the run that `run` describes wrote `output`, and its vectors can be had from it: from codes none comes back."""
    manifest = manifest_of(output)
    if manifest is None or not output.exists() or run["identity"]["precision"] != "float32":
        return False
    return not changed(manifest["run"], json.loads(json.dumps(run)))


def how_made(inputs: Inputs, model: Model, dim: int | None = None) -> dict[str, Any]:
    """How the vectors of a run are made; `dim` is their width, where it is known better than to the model."""
    identity = replace(model.identity, prompt=model.prompt_for("document"), dimensions=dim or model.dim)
    return {"identity": identity.to_dict(), "text_field": inputs.text_field, "id_field": inputs.id_field}


def described_run(inputs: Inputs, model: Model) -> dict[str, Any]:
    """All that determines a run's result."""
    return _described_files(inputs) | how_made(inputs, model)


def standing(inputs: Inputs, asked: FileRun, run: dict[str, Any] | None = None) -> Standing:
    """How the run that `run` describes stands; without that, how one over `inputs` does, as far as the files tell.

    Raises
    ------
    InvalidInput
        Failed rows are to be tried again of a run that was not.
    OutputError
        The output or the journal is another run's, or the output nobody's that is known.
    """
    # What came through standard input is gone, and nobody can say that this is the same.
    if asked.restart or (inputs.from_stdin and journal_path(asked.output).is_dir()):
        stands = Standing.NEW
    else:
        stands = _found(asked.output, run or _described_files(inputs), overwrite=asked.overwrite)
    if asked.retry_failed and stands is Standing.NEW:
        raise InvalidInput(f"there is no run that wrote {asked.output}, of which the failed rows could be tried again")
    return stands


def settled_before(inputs: Inputs, model: Model, asked: FileRun) -> np.ndarray:
    """Which rows, bool (rows,), a run would not embed, as one before has settled them; nothing is embedded.

    Raises
    ------
    InvalidInput, OutputError
        As `embed_files` would.
    """
    run = described_run(inputs, model)
    stands = standing(inputs, asked, run)
    settled = np.full(inputs.rows, stands is Standing.FINISHED and not asked.retry_failed)
    if stands is Standing.BEGUN:
        kept = Kept.of(journal_path(asked.output), inputs.rows)
        settled |= kept.done if asked.retry_failed else kept.settled(0, inputs.rows)
        if kept.anew:
            return settled
    if stands is not Standing.NEW and taken_up(asked.output, run):
        settled |= np.concatenate([ok for _, ok in stored_vectors(asked.output)] or [settled])
    return settled


def _described_files(inputs: Inputs) -> dict[str, Any]:
    return {
        "inputs": inputs.digests(),
        "skip_bad_lines": inputs.skip_bad_lines,
        "text_field": inputs.text_field,
        "id_field": inputs.id_field,
    }


def _found(output: Path, run: dict[str, Any], *, overwrite: bool) -> Standing:
    """What is there of the run that `run`, or what is known of it, describes."""
    journal = journal_path(output)
    if journal.is_dir():
        before = described(journal)
        if before is not None and (differences := _differences(before, run)):
            raise OutputError(f"{journal} is another run's: {differences}. --restart would begin anew")
        return Standing.BEGUN
    manifest = manifest_of(output)
    if not output.exists() or (overwrite and manifest is None):
        return Standing.NEW
    if manifest is None:
        raise OutputError(f"{output} is there, and nothing says that this run wrote it: --overwrite would replace it")
    if differences := _differences(manifest["run"], run):
        raise OutputError(f"{output} is another run's: {differences}. --restart would write it anew")
    size = output.stat().st_size
    if manifest.get("bytes", size) != size:
        if overwrite:
            return Standing.NEW
        raise OutputError(
            f"{output} is not as its run wrote it: it has {size:,} bytes, and had {manifest['bytes']:,}; --restart or "
            "--overwrite would write it anew"
        )
    return Standing.FINISHED


def _differences(before: dict[str, Any], run: dict[str, Any]) -> str:
    """In what `run`, which may be a part of a description, is another."""
    now = json.loads(json.dumps(run))
    return "; ".join(changed({name: before.get(name) for name in now}, now))
