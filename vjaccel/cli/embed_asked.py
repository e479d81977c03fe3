"""What `vjaccel embed` is asked for: where the vectors go, and what goes together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vjaccel.cli.embed_collected import check_collected, check_columns
from vjaccel.embedding.journal import check_free
from vjaccel.engines import FileRun, standing
from vjaccel.engines.standing import journal_path
from vjaccel.errors import InvalidInput
from vjaccel.io import LANCE, Inputs, check_output, check_parts, is_stored

__all__ = ["Asked", "InputFormat"]

PART_ROWS = 100_000

InputFormat = Literal["txt", "jsonl", "csv", "parquet"]


@dataclass(frozen=True)
class Asked:
    """What a command line says of inputs and output, and of what earlier runs have left.

    Raises
    ------
    InvalidInput, OutputError
        Of `check` and `check_inputs`, which say what cannot be done.
    """

    inputs: list[str]
    output: str
    text_field: str
    id_field: str | None
    input_format: InputFormat | None
    skip_bad_lines: bool
    precision: str
    restart: bool
    resume: bool
    overwrite: bool
    retry_failed: bool
    max_errors: int | None
    price: float | None
    shards: bool
    shard_rows: int | None
    dry_run: bool
    as_json: bool

    @property
    def to_collection(self) -> bool:
        return self.output.startswith(LANCE)

    @property
    def live(self) -> bool:
        """Whether rows are embedded as they come, without being read before."""
        return self.output == "-" or (self.to_collection and self.inputs == ["-"] and not self.dry_run)

    @property
    def to_file(self) -> bool:
        return not (self.live or self.to_collection)

    @property
    def run(self) -> FileRun:
        """Of an output that is a file, or a folder of some."""
        rows = (self.shard_rows or PART_ROWS) if self.shards else None
        return FileRun(Path(self.output), self.restart, self.overwrite, self.retry_failed, self.max_errors, rows)

    @property
    def begun_before(self) -> bool:
        """Whether an earlier call was stopped, and this one goes on."""
        return self.to_file and not (self.restart or self.dry_run) and journal_path(Path(self.output)).exists()

    def check(self) -> None:
        """Find out what the command line alone can tell, before anything is read or loaded."""
        if self.to_collection:
            check_collected(
                self.output, self.precision,
                restart=self.restart, overwrite=self.overwrite, retry_failed=self.retry_failed,
            )  # fmt: skip
        elif self.live:
            self._check_live()
        elif is_stored(self.output):
            raise InvalidInput(
                f"{self.output} is in an object store, and files are written to disks: name one there and copy it, or a "
                "collection, as in lance:s3://bucket/notes"
            )
        else:
            check_output(Path(self.output), self.inputs, folder=self.shards)
            if self.shards:
                check_parts(Path(self.output))
        if self.shards and not self.to_file:
            raise InvalidInput("--shards is for an output that is files: leave it out")
        if self.restart and (self.resume or self.retry_failed):
            raise InvalidInput("--restart begins anew, and --resume and --retry-failed go on: give one of them")
        if self.resume and "-" in self.inputs:
            raise InvalidInput(
                "standard input is gone when it has been read, so that no run over it can be resumed: name a file"
            )
        if "" in self.inputs:
            raise InvalidInput("an input has no name: name a file, or - for standard input")

    def opened(self, seen: Callable[[int], object]) -> Inputs:
        """The inputs' rows; `seen` is told how many have been read."""
        return Inputs(
            self.inputs, text_field=self.text_field, id_field=self.id_field, input_format=self.input_format,
            skip_bad_lines=self.skip_bad_lines, seen=seen,
        )  # fmt: skip

    def check_inputs(self, rows: Inputs) -> None:
        """Find out what the files alone can tell, before a model is loaded."""
        if self.to_collection:
            check_columns(rows)
        else:
            if not self.dry_run:
                check_free(journal_path(Path(self.output)))
            standing(rows, self.run)

    def _check_live(self) -> None:
        if self.precision in ("int8", "uint8"):
            raise InvalidInput(
                f"--precision {self.precision} takes its ranges from all rows, and -o - gives each at once: name a file"
            )
        asked = {
            "--restart": self.restart, "--resume": self.resume, "--retry-failed": self.retry_failed,
            "--dry-run": self.dry_run, "--json": self.as_json, "--overwrite": self.overwrite,
            "--price": self.price is not None,
        }  # fmt: skip
        refused = [name for name, given in asked.items() if given]
        if refused or len(self.inputs) > 1:
            what = f"{', '.join(refused)} cannot be asked" if refused else "there is one input"
            raise InvalidInput(f"-o - gives each row of one input as it comes, and keeps nothing: {what} with it")
