"""`vjaccel embed INPUT -o -`: a line of JSON on standard output for each row, as soon as it is there."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import Any, BinaryIO

from vjaccel.cli.embed_report import telling
from vjaccel.cli.embed_reported import Reporting
from vjaccel.embedding import Embedder, Progress
from vjaccel.errors import FileFormatError, InvalidInput
from vjaccel.io import LINE_FORMATS, BadLine, Header, input_file, json_line, line_format, looks_like_json
from vjaccel.observe import View

__all__ = ["MAX_LATENCY", "Live", "embed_live"]

MAX_LATENCY = 0.5
"""Seconds that a line may wait for others."""


class Live:
    """The rows of an input as they come.

    Attributes
    ----------
    bad_lines : int
        Passed over so far.
    """

    def __init__(self, path: str, text_field: str, asked: str | None, *, skip_bad_lines: bool) -> None:
        self.bad_lines = 0
        self._path = path
        self._name = "standard input" if path == "-" else path
        self._text_field = text_field
        self._skip = skip_bad_lines
        self._waiting: deque[dict[str, Any]] = deque()
        # Not sys.stdin: a thread that waits in it would have the interpreter abort when it ends.
        self._lines: Any = (
            io.BufferedReader(io.FileIO(0, closefd=False)) if path == "-" else input_file(path).unpacked()
        )
        self._format = asked or (None if path == "-" else line_format(path))
        if self._format == "parquet" or (path != "-" and self._format is None):
            raise InvalidInput(f"{path} is no file of lines, and -o - gives a line for a line: name a file to write")

    def texts(self) -> Iterator[Any]:
        """What stands in each row's text field.

        Raises
        ------
        FileFormatError
        """
        lines: Any = self._lines
        if self._format is None:
            read = []
            for line in lines:
                read.append(line)
                if line.strip():
                    break
            self._format = "jsonl" if read and looks_like_json(read[-1]) else "txt"
            lines = chain(read, lines)
        for row in LINE_FORMATS[self._format](lines, self._text_field):
            if isinstance(row, BadLine):
                if not self._skip:
                    raise FileFormatError(f"{self._name}, line {row.number}: {row.reason}")
                self.bad_lines += 1
            elif not isinstance(row, Header):
                self._waiting.append(row)
                yield row.get(self._text_field)

    def close(self) -> None:
        """Let go of the input; of one that a thread is still waiting for, nobody can."""
        if self._path != "-":
            self._lines.close()

    def row(self) -> dict[str, Any]:
        """The next row whose text was given out."""
        return self._waiting.popleft()

    def named(self, row: dict[str, Any], number: int) -> tuple[Any, Any]:
        """What a row is known by, and its text."""
        return row.get("id", number), row.get(self._text_field)


def embed_live(
    rows: Live, embedder: Embedder, out: BinaryIO, max_errors: int | None, view: View | None, reporting: Reporting
) -> dict[str, int]:
    """Write each row with its vector, or with its error, a line of JSON each; what was done is counted."""
    done = failed = 0
    prompt = embedder.prompt_for("document")
    tell = None if view is None else telling(view, None)

    def progress(now: Progress) -> None:
        reporting.saw(now.recording)
        if tell is not None:
            tell(now, 0)

    results = embedder.stream(
        rows.texts(),
        max_latency=MAX_LATENCY,
        prompt=prompt,
        on_error="collect",
        max_errors=max_errors,
        progress=progress,
    )
    with closing(results):  # type: ignore[type-var]  # it is a generator
        for result in results:
            errors = {error.index - result.start: error for error in result.errors}
            given = [rows.row() for _ in range(len(result))]
            for i, vector in enumerate(result.embeddings.tolist()):
                error = errors.get(i)
                more = {} if error is None else {"error": {"code": error.code, "message": error.message}}
                out.write(json_line(given[i] | more, vector if error is None else None))
            out.flush()
            reporting.took(result, [rows.named(row, result.start + i) for i, row in enumerate(given)])
            done, failed = done + len(result), failed + len(errors)
    return {"rows": done, "failed": failed, "bad_lines": rows.bad_lines}
