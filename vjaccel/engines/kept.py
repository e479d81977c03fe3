"""What a run over files has kept of itself: in its manifest, or, while it has not ended, in its journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from vjaccel import __version__
from vjaccel.embedding.journal_folder import DESCRIPTION, RECORDING, Kept, described, last_part, recorded
from vjaccel.engines.shards import shard_paths, shards_path
from vjaccel.engines.standing import RUN_SUFFIX, journal_path, run_path
from vjaccel.errors import FileFormatError, InvalidInput
from vjaccel.telemetry import Recording

__all__ = ["JOURNAL_SUFFIX", "KeptRun", "kept_run"]

JOURNAL_SUFFIX = ".journal"

COUNTS = ("rows", "with_vector", "duplicates", "empty", "resumed", "bad_lines")


class KeptRun(NamedTuple):
    """What is kept of a run.

    Attributes
    ----------
    output : Path
        What it writes.
    ended : bool
        Whether it has.
    version : str
        Of the vjaccel that wrote this.
    made_by : dict
        How the vectors are made, as in a manifest.
    inputs : list of str
    counts, statistics : dict or None
        As in a manifest; None of a run that has not ended, statistics also of one that had nothing left to embed.
    recording : Recording
    journal : Kept or None
        Which rows are settled of a run that has not ended.
    """

    output: Path
    ended: bool
    version: str
    made_by: dict[str, Any]
    inputs: list[str]
    counts: dict[str, Any] | None
    statistics: dict[str, Any] | None
    recording: Recording
    journal: Kept | None = None


def kept_run(name: str | Path) -> KeptRun:
    """What is kept of the run that `name` names: its output OUT, its manifest OUT.run.json, or its journal OUT.journal.

    An output that is made anew has both: OUT.run.json is then the run that has ended, the others the one that has not.

    Raises
    ------
    InvalidInput
        There is nothing.
    FileFormatError
        What is there cannot be read, or is another version's.
    OSError
    """
    given = Path(name)
    if given.name in ("", ".."):
        raise InvalidInput(f"{name} is a folder, and no run's name: name its output OUT, OUT.run.json or OUT.journal")
    if given.name.endswith(RUN_SUFFIX):
        output, manifest_first = given.with_name(given.name.removesuffix(RUN_SUFFIX)), True
    else:
        output, manifest_first = given.with_name(given.name.removesuffix(JOURNAL_SUFFIX)), False
    manifest, journal = run_path(output), journal_path(output)
    if manifest.exists() and (manifest_first or not journal.is_dir()):
        return _ended(output, manifest)
    if journal.is_dir():
        return _under_way(output, journal)
    raise InvalidInput(
        f"there is neither {manifest} nor {journal}, where a run would have said what it was like: give "
        "what one has written, its OUT of -o OUT, and not what it has read"
    )


def _ended(output: Path, manifest: Path) -> KeptRun:
    found = _read(manifest)
    version = str(found.get("vjaccel", "unknown"))
    if "recording" not in found:
        raise FileFormatError(
            f"{manifest} does not say what the run was like: vjaccel {version}, which wrote it, kept nothing of it"
        )
    try:
        run, made_by, counts, told = found["run"], found["made_by"], found["counts"], found["recording"]
        recording = Recording.unknown(_model(run)) if told is None else Recording.from_dict(told)
        statistics = found["statistics"]
        _ = made_by["identity"]["model"], [f"{counts[name]:,}" for name in COUNTS], sum(counts["failures"].values())
        return KeptRun(output, True, version, made_by, _inputs(run), counts, statistics, recording)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise FileFormatError(_another(manifest, version)) from exc


def _under_way(output: Path, journal: Path) -> KeptRun:
    kept = Kept.of(journal)
    found = [own for own in shard_paths(shards_path(output)) if described(own) is not None]
    for own in found:
        kept.take_in(Kept.of(own), (described(own) or {})["shard"][0])
    if not (journal / RECORDING).exists() and not kept.settled(0, len(kept.done)).any():
        raise InvalidInput(f"nothing is known yet of the run that has {journal}: not one of its batches has come back")
    run = _read(journal / DESCRIPTION)
    try:
        recording = Recording.unknown(_model(run))
        if (journal / RECORDING).exists():
            recording = Recording.from_dict(_read(journal / RECORDING))
        counted = last_part(journal)
        for own in found:
            if own.name != counted and (part := recorded(own)) is not None:
                recording.take_in(part)
    except (KeyError, ValueError) as exc:
        raise FileFormatError(_another(journal / RECORDING, "of another version")) from exc
    # Of one that was not killed the recording also has what failed last, which the same command tries again.
    if len(kept.done) and not (agreed := kept.agreed(recording)).complete:
        recording = agreed
    return KeptRun(output, False, __version__, run, _inputs(run), None, None, recording, kept)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise FileFormatError(f"{path} is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise FileFormatError(f"{path} is no manifest of a run: it holds a {type(found).__name__}")
    return found


def _another(path: Path, version: str) -> str:
    return f"{path} was written by vjaccel {version}, and this is {__version__}, which cannot read it"


def _model(run: dict[str, Any]) -> str:
    return f"{run['identity']['provider']}:{run['identity']['model']}"


def _inputs(run: dict[str, Any]) -> list[str]:
    return [name.partition(": ")[2].rpartition(" as ")[0] for name in run.get("inputs", {})]
