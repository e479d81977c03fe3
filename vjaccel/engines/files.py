"""A run over files: what is done is kept row by row in a journal, and the output is put together from it at the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjaccel import __version__
from vjaccel.embedding import Embedder, EmbeddingStatistics, Progress
from vjaccel.embedding.driver import CHUNK
from vjaccel.embedding.journal import Journal, remove_rest
from vjaccel.embedding.journal_folder import recorded
from vjaccel.embedding.precision import Quantizer
from vjaccel.embedding.seen import SeenTexts
from vjaccel.engines.rows import embed_rows
from vjaccel.engines.shards import shards_path, take_in_shards
from vjaccel.engines.standing import (
    FileRun,
    Model,
    Standing,
    described_run,
    how_made,
    journal_path,
    manifest_of,
    recording_of,
    run_path,
    standing,
    taken_up,
)
from vjaccel.errors import InvalidInput, OutputError
from vjaccel.io import (
    Inputs,
    Output,
    Parts,
    Rows,
    error_log,
    error_path,
    open_output,
    open_parts,
    remove_partial,
    stored_vectors,
    whole_file,
)
from vjaccel.telemetry import Recording

__all__ = ["Report", "UnderWay", "embed_files", "run_over", "unsettled"]


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has done.

    Attributes
    ----------
    standing : Standing
        How it stood when it was called; of a finished one nothing was done.
    rows, resumed, duplicates, empty : int
        All rows; those that an earlier call had settled; those whose text an earlier row had; those with an empty text.
    failures : dict of str to int
        Rows without a vector, by the code of their error.
    made_by : dict
        How the vectors were made.
    statistics : EmbeddingStatistics or None
        Of this call's own run; None where it embedded nothing.
    recording : Recording or None
        What the run was like, the calls that were stopped included; None where nobody knows.
    """

    standing: Standing
    rows: int
    resumed: int
    duplicates: int
    empty: int
    failures: dict[str, int]
    made_by: dict[str, Any]
    statistics: EmbeddingStatistics | None
    recording: Recording | None

    @property
    def failed(self) -> int:
        """Rows without a vector."""
        return sum(self.failures.values())


class _Counts(NamedTuple):
    duplicates: int
    empty: int
    failures: dict[str, int]


class UnderWay(NamedTuple):
    """A run whose journal is open.

    Attributes
    ----------
    described : dict
        All that determines its result.
    before : Recording or None
        What the run was like before it was stopped.
    settled : int
        Rows that were settled then.
    """

    inputs: Inputs
    asked: FileRun
    described: dict[str, Any]
    journal: Journal
    seen: SeenTexts
    before: Recording | None

    @property
    def settled(self) -> int:
        return 0 if self.before is None else sum(self.before.outcomes.values()) + self.before.unrecorded


def embed_files(
    inputs: Inputs,
    embedder: Embedder,
    asked: FileRun,
    show: Callable[[Progress, int], object],
    when_kept: Callable[[int], object],
) -> Report:
    """Embed the rows of `inputs` into ``asked.output``, going on where an earlier call was stopped.

    Parameters
    ----------
    show : callable
        Called with how far this call's run has come, and how many rows beside had nothing to be embedded.
    when_kept : callable
        Called when from now on all that is done is kept, with how many rows an earlier call that was stopped had settled.

    Raises
    ------
    InvalidInput, OutputError
        The journal or the output that is there is another run's; nothing was embedded.
    TooManyErrors
        More rows than ``asked.max_errors`` have failed. The journal is kept.
    """
    return run_over(inputs, embedder, asked, when_kept, partial(_embedded_here, embedder, show))


def run_over(
    inputs: Inputs,
    model: Model,
    asked: FileRun,
    when_kept: Callable[[int], object],
    embed: Callable[[UnderWay], tuple[EmbeddingStatistics | None, Recording | None]],
) -> Report:
    """What `embed_files` does, whoever embeds: `embed` settles all rows in the journal of the run that it is given."""
    output = asked.output
    described = described_run(inputs, model)
    stands = standing(inputs, asked, described)
    if stands is Standing.FINISHED and not asked.retry_failed:
        return _finished_before(inputs, output)
    _check_retry(asked, stands, model)
    anew = stands is Standing.NEW
    with ExitStack() as held:
        journal = held.enter_context(
            Journal(journal_path(output), described, inputs.rows, anew=anew, goes_on=asked.goes_on)
        )
        if inputs.from_stdin:
            held.callback(journal.remove)
        takes_up = not journal.anew and taken_up(output, described)
        if takes_up:
            # By a run whose failed rows are tried again, in this call or in one before that was stopped.
            _take_up(journal, output)
        take_in_shards(journal, shards_path(output), described, anew=anew)
        if asked.retry_failed:
            journal.forget_failures()
        found = int(journal.settled(0, inputs.rows).sum())
        when_kept(found if stands is Standing.BEGUN else 0)
        # Of a run that was killed; nobody else writes these while the journal is ours.
        for path in (output, error_path(output), run_path(output)):
            remove_partial(path)
        with SeenTexts(journal_path(output) / "seen.sqlite", asked.goes_on) as seen:
            before = _before(journal, output, model, takes_up=takes_up)
            statistics, recording = embed(UnderWay(inputs, asked, described, journal, seen, before))
            made_by = how_made(inputs, model, journal.dim)
            counts = _put_together(inputs, journal, seen, model, asked, made_by)
            if recording is not None:
                recording = journal.agreed(recording)
                # Those beside the last batches: nobody has told of them yet.
                recording.repeated(counts.duplicates - recording.outcomes["duplicate"])
        report = Report(
            Standing.BEGUN if found else Standing.NEW, inputs.rows, found, *counts, made_by, statistics, recording
        )
        _say(report, output, described, inputs.bad_lines)
        journal.remove()
    return report


def _finished_before(inputs: Inputs, output: Path) -> Report:
    """What the manifest of a finished run says."""
    remove_rest(journal_path(output))
    manifest = manifest_of(output)
    assert manifest is not None  # by which it is known to be finished
    counts, rows = manifest["counts"], inputs.rows
    before = _Counts(counts["duplicates"], counts["empty"], counts["failures"])
    return Report(Standing.FINISHED, rows, rows, *before, manifest["made_by"], None, recording_of(output))


def _check_retry(asked: FileRun, stands: Standing, model: Model) -> None:
    """Refuse to try failed rows again where there are no vectors that they could join."""
    precision = model.identity.precision
    if stands is Standing.FINISHED and precision != "float32":
        raise InvalidInput(
            f"{asked.output} holds {precision} codes, from which no vector comes back, so that failed rows cannot be added: "
            "--restart embeds all rows anew"
        )


def _take_up(journal: Journal, output: Path) -> None:
    """Have the journal hold what a finished output has."""
    start = 0
    for vectors, ok in stored_vectors(output):
        rows = np.flatnonzero(ok & ~journal.done[start : start + len(ok)])
        if len(rows):
            journal.append(start + rows, vectors[rows])
        start += len(ok)


def _before(journal: Journal, output: Path, model: Model, *, takes_up: bool) -> Recording | None:
    """What the run was like before this call, with all texts that are settled; None where it is its first."""
    kept = recorded(journal_path(output))
    before = kept or (None if journal.anew else recording_of(output))
    if takes_up and journal.copies is None:
        # Nothing has been embedded since: whatever its recording does not know are duplicates.
        known = 0 if before is None else before.outcomes["embedded"] + before.outcomes["cached"] + before.unrecorded
        journal.took_up(int(journal.done.sum()) - known)
    if before is None and not journal.settled(0, len(journal.done)).any():
        return None
    identity = model.identity
    agreed = journal.agreed(before or Recording.unknown(f"{identity.provider}:{identity.model}"))
    if takes_up and kept is None:
        agreed.next_tries_again()
    return agreed


class Unsettled(NamedTuple):
    """Some rows of a run that goes on.

    Attributes
    ----------
    start : int
        The number of the first.
    wanted : ndarray of int64
        Which of them are to be embedded, each text once.
    copies : int
        How many have the text of an earlier row, and were not counted before the run was stopped.
    """

    start: int
    rows: Rows
    wanted: np.ndarray
    copies: int


def unsettled(under_way: UnderWay) -> Iterator[Unsettled]:
    """All rows, some at a time."""
    start = 0
    # Each call reads the same rows in the same order.
    counted = 0 if under_way.before is None else under_way.before.outcomes["duplicate"]
    for rows in under_way.inputs.batches(CHUNK):
        own = under_way.seen.first(start, rows.texts) == np.arange(start, start + len(rows))
        wanted = np.flatnonzero(own & ~under_way.journal.settled(start, start + len(rows)))
        copies = len(rows) - int(own.sum())
        yield Unsettled(start, rows, wanted, max(0, copies - counted))
        counted = max(0, counted - copies)
        start += len(rows)


def _embedded_here(
    embedder: Embedder, show: Callable[[Progress, int], object], under_way: UnderWay
) -> tuple[EmbeddingStatistics | None, Recording | None]:
    """Embed what is not settled yet, each text once."""
    rows, passed_over, copies = under_way.inputs.rows, 0, 0

    def pieces() -> Iterator[tuple[np.ndarray, list[Any]]]:
        nonlocal passed_over, copies
        for some in unsettled(under_way):
            passed_over += len(some.rows) - len(some.wanted)
            copies += some.copies
            yield some.start + some.wanted, [some.rows.texts[i] for i in some.wanted]

    def progress(now: Progress) -> None:
        nonlocal copies
        now.recording.expects(rows, under_way.settled)
        now.recording.repeated(copies)
        copies = 0
        show(now, passed_over)

    return embed_rows(
        pieces(), embedder, under_way.journal, progress, under_way.before, under_way.asked.max_errors, rows
    )


def _put_together(
    inputs: Inputs, journal: Journal, seen: SeenTexts, model: Model, asked: FileRun, made_by: dict[str, Any]
) -> _Counts:
    """Write the output from the journal; how many rows are duplicates and have an empty text, and what failed by code."""
    output, dim = asked.output, journal.dim or model.dim or 0
    start = duplicates = empty = 0
    first_failed = ""
    failures: Counter[str] = Counter()
    quantizer = _quantizer(model, journal, inputs.rows, dim)
    if quantizer.ranges is not None:
        made_by["ranges"] = [bound.tolist() for bound in quantizer.ranges]
    width, dtype = quantizer.width(dim), quantizer.dtype.name
    with ExitStack() as held:
        log = held.enter_context(error_log(output))
        file: Output | Parts | None = None
        if dim or not inputs.rows:
            kind = output, inputs.schema, width, inputs.rows, made_by, dtype
            if asked.part_rows is None:
                file = held.enter_context(open_output(*kind))
            else:
                file = held.enter_context(open_parts(*kind, asked.part_rows))
        for rows in inputs.batches(CHUNK):
            sources = seen.first(start, rows.texts)
            ok = journal.done[sources]
            if file is not None:
                file.write(rows, quantizer.codes(journal.vectors(sources, dim), ok), ok)
            for i in np.flatnonzero(~ok):
                code, message = journal.error(int(sources[i])) or ("EMBEDDING_GENERATION_FAILED", "it was not embedded")
                failures[code] += 1
                first_failed = first_failed or message
                log([{"index": start + int(i), "code": code, "message": message, "id": rows.ids[i]}])
            duplicates += int((sources != np.arange(start, start + len(rows))).sum())
            empty += sum(text == "" for text in rows.texts)
            start += len(rows)
    if file is None:
        journal.remove()
        raise OutputError(
            f"no text could be embedded, so there is nothing to write; the first failed with {first_failed}: see "
            f"{error_path(output)}"
        )
    return _Counts(duplicates, empty, dict(failures))


def _quantizer(model: Model, journal: Journal, rows: int, dim: int) -> Quantizer:
    """What makes codes of the model's vectors, its ranges those of all that the journal has."""
    quantizer = model.quantizer()
    if quantizer.needs_ranges:
        for start in range(0, rows, CHUNK):
            there = np.flatnonzero(journal.done[start : start + CHUNK])
            quantizer.fit(journal.vectors(start + there, dim))
    return quantizer


def _say(report: Report, output: Path, described: dict[str, Any], bad_lines: int) -> None:
    """Write the manifest."""
    statistics = None if report.statistics is None else report.statistics.to_dict()
    recording = report.recording
    outcomes = {} if recording is None else recording.outcomes
    truncated, lost = (recording.truncated if recording is not None else None) or (None, None)
    found = {
        "vjaccel": __version__,
        "output": output.name,
        "bytes": output.stat().st_size,
        "errors": error_path(output).name if report.failed else None,
        "run": described,
        "made_by": report.made_by,
        "counts": {
            "rows": report.rows,
            "bad_lines": bad_lines,
            "with_vector": report.rows - report.failed,
            "resumed": report.resumed,
            "embedded": outcomes.get("embedded"),
            "cached": outcomes.get("cached"),
            "unrecorded": None if recording is None else recording.unrecorded,
            "tokens": None if recording is None else recording.tokens,
            "truncated": truncated,
            "tokens_lost": lost,
            "duplicates": report.duplicates,
            "empty": report.empty,
            "failures": report.failures,
        },
        "statistics": statistics,
    }
    told = json.dumps(found, ensure_ascii=False, indent=2)
    # Its numbers by the thousand would make it a file that nobody reads.
    kept = json.dumps(None if recording is None else recording.to_dict())
    with whole_file(run_path(output)) as file:
        file.write(f'{told[:-2]},\n  "recording": {kept}\n}}\n'.encode())
