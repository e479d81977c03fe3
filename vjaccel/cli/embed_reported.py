"""`vjaccel embed --report`: what is found out before the run, gathered while it goes, and written after it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice, repeat
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import typer

from vjaccel import __version__
from vjaccel.embedding import Embedder, EmbeddingResult, EmbeddingStatistics, Progress
from vjaccel.embedding.driver import stopping
from vjaccel.engines import KeptRun, RemoteModel, kept_run
from vjaccel.engines.standing import journal_path, run_path
from vjaccel.errors import FileFormatError, InvalidInput, VjaccelError
from vjaccel.io import TEXT_ROWS, Inputs, Rows, TextRows, error_path, is_stored, local_path, text_rows
from vjaccel.observe.report import Account, Failed, Row, Sample, beginning, check_report, described, write_run_report
from vjaccel.telemetry import Recording

__all__ = ["Reporting", "account_of", "check_path"]

ERRORS_READ = 100_000
"""Lines of OUT.errors.jsonl in which examples are looked for."""

PRINTED = "the rows that were printed are done, and nothing else is kept"
"""What there is of a run onto standard output that was stopped."""

EXAMPLES = 5
"""Errors of one code that are shown whole."""


class Reporting:
    """The report of the run within its block; without a path nothing.

    Parameters
    ----------
    path : Path or None
        Where the report goes.
    output : str
        As it was asked for.
    inputs : list of str
        The same of them.
    to_file : bool
        Whether the output is a file, beside which the run keeps what it was like.
    price : float or None
        Of a million tokens.
    dry_run : bool
        Whether nothing is to be embedded, so that there can be no report.

    Raises
    ------
    InvalidInput, OutputError, MissingExtra
        It could not be written.
    """

    def __init__(
        self,
        path: Path | None,
        output: str,
        inputs: Sequence[str],
        *,
        to_file: bool,
        price: float | None,
        dry_run: bool,
    ) -> None:
        self._path, self._output, self._inputs, self._price = path, output, inputs, price
        self._to_file = to_file
        self._recording: Recording | None = None
        self._begun = False
        self._statistics: EmbeddingStatistics | None = None
        self._precision = "float32"
        self._sample = Sample()
        self._described: list[tuple[str, str]] = []
        self._rows: Inputs | None = None
        if path is None:
            return
        if dry_run:
            raise InvalidInput("--dry-run embeds nothing of which there could be a report: leave --report out")
        check_path(path, inputs, Path(output) if to_file else None)

    @property
    def said(self) -> dict[str, str]:
        """What is to be told of it."""
        return {} if self._path is None else {"report": str(self._path)}

    def reads(self, rows: Inputs) -> None:
        """Note what is read."""
        self._rows = rows

    def begins(self, model: Embedder | RemoteModel) -> None:
        """Note what the run is of."""
        if self._path is not None and not self._to_file:
            self._described = [("inputs", ", ".join(self._inputs)), ("output", self._output)]
            identity = model.identity
            self._precision = identity.precision
            self._described += described(identity.to_dict() | {"prompt": model.prompt_for("document")})

    def kept(self) -> None:
        """Note that from now on what the run was like is kept beside its output."""
        self._begun = True

    def saw(self, recording: Recording) -> None:
        """Note what the run was like until now."""
        self._recording = recording

    def seeing(self, tell: Callable[[Progress, int], None]) -> Callable[[Progress, int], None]:
        """`tell`, with what it is told noted first."""

        def both(now: Progress, beside: int) -> None:
            self.saw(now.recording)
            tell(now, beside)

        return both

    def took(self, result: EmbeddingResult, rows: Sequence[tuple[str, Any]]) -> None:
        """Note what was embedded, and the id and text of each."""
        self._recording = result.recording
        self.did(result.statistics)
        self.stored(result.embeddings, rows, result.ok)

    def stored(self, vectors: np.ndarray, rows: Sequence[tuple[str, Any]], ok: np.ndarray | None = None) -> None:
        """Note vectors, the id and text of each, and which of them there are; by default all."""
        if self._path is not None and self._precision == "float32":
            there = np.ones(len(rows), np.bool_) if ok is None else ok
            self._sample.add(there, lambda i: (_named(*rows[i]), vectors[i]))

    def did(self, statistics: EmbeddingStatistics | None) -> None:
        """Note what was measured of the run until now."""
        self._statistics = statistics

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is None:
            return
        if exc is None or isinstance(exc, typer.Exit):
            write_run_report(self._account(None), self._path)
        elif self._begun or self._recording is not None or self._goes_on(exc):
            # What ends the run is what has to be told, not that its report cannot be written either.
            with suppress(VjaccelError, OSError):
                write_run_report(self._account(exc), self._path)

    def _goes_on(self, stopped: BaseException | None) -> bool:
        """Whether what was stopped is there from a call before, though this one has done nothing yet."""
        there = self._to_file and journal_path(Path(self._output)).exists()
        return there and isinstance(stopped, KeyboardInterrupt)

    def _account(self, stopped: BaseException | None) -> Account:
        """What is to be told of it; `stopped` is what ended it before its end."""
        ended, why = stopped is None, None if stopped is None else stopping(stopped)
        # Where every text has failed, nothing is kept but the errors.
        if self._to_file and (ended or journal_path(Path(self._output)).exists()):
            kept = kept_run(run_path(Path(self._output)) if ended else journal_path(Path(self._output)))
            return replace(account_of(kept, self._price, self._rows), stopped_by=why)
        recording = self._recording or Recording("nothing was embedded", 1)
        failures = {code: count for code, (count, _) in recording.failures.items()}
        return Account(
            self._output, recording, __version__, ended=ended, price=self._price, failures=failures,
            statistics=None if self._statistics is None else self._statistics.to_dict(),
            examples=_recorded_examples(recording), described=self._described, sample=self._sample,
            no_map=_codes(self._precision), stopped_by=why,
            goes_on=PRINTED if self._output == "-" else Account.goes_on,
        )  # fmt: skip


def check_path(path: Path, inputs: Sequence[str], output: Path | None) -> None:
    """Find out, before anything is done, whether a report can be written there.

    Raises
    ------
    InvalidInput, OutputError, MissingExtra
    """
    taken = [local_path(name) for name in inputs if name != "-" and not is_stored(name)]
    if output is not None:
        taken += [output, error_path(output), run_path(output), journal_path(output)]
    for other in taken:
        if os.path.realpath(path) == os.path.realpath(other):
            raise InvalidInput(f"the report would be written over {other}: give it another name")
    check_report(path)


def account_of(kept: KeptRun, price: float | None, rows: Inputs | None = None) -> Account:
    """What is to be told of a run over files; `rows` are its inputs, where they are at hand."""
    recording, counts = kept.recording, kept.counts
    identity = kept.made_by.get("identity", {})
    about = [("inputs", ", ".join(kept.inputs)), ("output", kept.output.name), *described(identity)]
    failures = {code: count for code, (count, _) in recording.failures.items()}
    examples = _recorded_examples(recording)
    if counts is not None:
        failures, examples = counts["failures"], _logged_examples(kept.output) or examples
    elif kept.journal is not None and not recording.complete:
        examples = _recorded_examples(recording, "row")  # from the journal
    sample, why = _sampled(kept, identity, rows)
    settled = None if kept.journal is None else int(kept.journal.done.sum()) - (kept.journal.copies or 0)
    return Account(
        kept.output.name, recording, kept.version, kept.ended, kept.statistics, counts, failures, examples, about, price,
        sample, why, recording.stopped_by, with_vector=settled,
    )  # fmt: skip


def _recorded_examples(recording: Recording, what: str = "text") -> list[Failed]:
    return [
        Failed(code, f"{what} {one.number:,}", one.message)
        for code, (_, examples) in recording.failures.items()
        for one in examples
    ]


def _logged_examples(output: Path) -> list[Failed]:
    """Of the errors of each row, which know their ids; none where they cannot be read."""
    found: dict[str, list[Failed]] = {}
    with suppress(OSError, ValueError, KeyError), error_path(output).open(encoding="utf-8") as lines:
        for line in islice(lines, ERRORS_READ):
            error = json.loads(line)
            some = found.setdefault(error["code"], [])
            if len(some) < EXAMPLES:
                some.append(
                    Failed(error["code"], f"row {error['index']:,}, id {beginning(error['id'], 60)}", error["message"])
                )
    return [one for some in found.values() for one in some]


def _sampled(kept: KeptRun, identity: dict[str, Any], rows: Inputs | None) -> tuple[Sample | None, str]:
    """Rows of the output; or why there are none."""
    if not kept.ended:
        return None, "the output is not written yet"
    if identity.get("precision", "float32") != "float32":
        return None, _codes(identity["precision"])
    if not kept.output.exists():
        return None, f"{kept.output} is not there"
    sample = Sample()
    found = text_rows(kept.output, kept.made_by["id_field"], kept.made_by["text_field"])
    # What an npy file has not, its inputs have, in the same order.
    beside = rows.batches(TEXT_ROWS) if rows is not None and kept.output.suffix.lower() == ".npy" else repeat(None)
    try:
        for some, own in zip(found, beside, strict=False):
            sample.add(some.ok, _row(some, own))
    except (FileFormatError, OSError) as exc:
        return None, str(exc)
    return sample, ""


def _row(some: TextRows, own: Rows | None) -> Callable[[int], tuple[Row, np.ndarray]]:
    def row(i: int) -> tuple[Row, np.ndarray]:
        name, text, vector = some.row(i)
        if own is not None:
            name, text = own.ids[i], own.texts[i]
        return _named(name, text), vector

    return row


def _named(name: Any, text: Any) -> Row:
    return Row(beginning(name, 60), beginning(text))


def _codes(precision: str) -> str:
    return "" if precision == "float32" else f"the output holds {precision} codes"
