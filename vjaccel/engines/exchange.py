"""What the process of a run on a cluster and its workers tell each other: files in a folder that all nodes see.

Workers begin before anybody knows what there is to do, as one of them has to tell what the model is. Some shared file systems
show a new file late, but a file that was there as soon as it is opened: what is waited for is there from the start, and empty.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from vjaccel.engines.shards import Shard
from vjaccel.errors import OutputError
from vjaccel.io import whole_file

__all__ = ["FILE_SECONDS", "Exchange", "Given", "exchange_for"]

FILE_SECONDS = 0.1
"""After which it is looked again for what another process is to write."""

UNSEEN_SECONDS = 90.0
"""How long the folder may not be seen before the run is taken to have ended."""

GO, END = b"go", b"end"


class Given(NamedTuple):
    """What workers are given to do.

    Attributes
    ----------
    run : dict
        All that determines the run's result.
    max_errors : int or None
    starts : ndarray of int64
        Where in the file at `path` the shards are, and the end of the last.
    """

    run: dict[str, Any]
    max_errors: int | None
    starts: np.ndarray
    path: Path

    def shard(self, number: int) -> Shard | None:
        """One of the shards, by its place among them; None behind the last. No other is read: of a large run they are long."""
        if number >= len(self.starts) - 1:
            return None
        with self.path.open("rb") as file:
            file.seek(int(self.starts[number]))
            found: Shard = pickle.load(file)  # noqa: S301  # our own
        return found


@dataclass(frozen=True, slots=True)
class Exchange:
    """The folder, of one call."""

    folder: Path

    def is_there(self) -> bool:
        """Whether it is seen here."""
        return self._signal.exists()

    def tell(self, said: Callable[[], Any]) -> None:
        """Write what `said` gives, unless a worker has told something.

        Raises
        ------
        OSError
            The folder is full, say; not where the run has ended.
        """
        own = self.folder / f"told.{uuid4().hex}"
        with suppress(FileNotFoundError):
            if self._told.stat().st_size:
                return
            own.write_bytes(pickle.dumps(said()))
            own.replace(self._told)

    def told(self) -> Any:
        """What a worker has told; None before."""
        # Another node may be about to replace it.
        with suppress(OSError):
            said = self._told.read_bytes()
            return pickle.loads(said) if said else None  # noqa: S301  # our own
        return None

    @contextmanager
    def at_risk(self) -> Iterator[int]:
        """Have others know when this process dies within the block; how many of its node have."""
        place = f"at-risk.{platform.node()}."
        died = sum(not _lives(int(path.suffix[1:])) for path in self.folder.glob(f"{place}*"))
        own = self.folder / f"{place}{os.getpid()}"
        with suppress(OSError):
            own.touch()
        try:
            yield died
        finally:
            with suppress(OSError):
                own.unlink()

    def give(self, run: dict[str, Any], max_errors: int | None, shards: list[Shard]) -> None:
        """Tell the workers what to do.

        Raises
        ------
        OutputError
        """
        each = [pickle.dumps(shard) for shard in shards]
        starts = np.cumsum([0, *map(len, each)])
        with whole_file(self.folder / "shards") as file:
            file.writelines(each)
        with whole_file(self.folder / "run") as file:
            pickle.dump(Given(run, max_errors, starts, self.folder / "shards"), file)
        try:
            self._signal.write_bytes(GO)
        except OSError as exc:
            raise OutputError(f"cannot write {self._signal}: {exc.strerror or exc}") from exc

    def end(self) -> None:
        """Tell workers that were given nothing that there is nothing."""
        with suppress(OSError):
            if not self._signal.stat().st_size:
                self._signal.write_bytes(END)

    def waited_for(self) -> Given | None:
        """What there is to do, once it is told; None where there is nothing, or the run has ended."""
        seen = time.monotonic()
        while time.monotonic() - seen < UNSEEN_SECONDS:
            with suppress(OSError):
                signal = self._signal.read_bytes()
                if signal == END:
                    return None
                if signal == GO:
                    found: Given = pickle.loads((self.folder / "run").read_bytes())  # noqa: S301  # our own
                    return found
                seen = time.monotonic()
            time.sleep(FILE_SECONDS)
        return None

    def remove_those_of_killed_runs(self) -> None:
        """Remove what calls that were killed have left; those that wait for the run to be theirs hold theirs."""
        output = self.folder.name.removesuffix(".ray").rpartition(".")[0]
        name = re.compile(rf"{re.escape(output)}\.[0-9a-f]{{32}}\.ray")
        for other in self.folder.parent.iterdir():
            if name.fullmatch(other.name) and other != self.folder:
                with suppress(OSError), (other / "signal").open("rb") as signal:
                    fcntl.flock(signal, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(other, ignore_errors=True)

    @property
    def _signal(self) -> Path:
        return self.folder / "signal"

    @property
    def _told(self) -> Path:
        return self.folder / "told"


@contextmanager
def exchange_for(output: Path) -> Iterator[Exchange]:
    """A folder beside the output, which is removed at the end.

    Raises
    ------
    OutputError
    """
    folder = output.with_name(f".{output.name}.{uuid4().hex}.ray")
    try:
        folder.mkdir()
        for name in ("signal", "told"):
            (folder / name).touch()
    except OSError as exc:
        raise OutputError(f"cannot write beside {output}: {exc.strerror or exc}") from exc
    try:
        # Held as long as this process lives.
        with (folder / "signal").open("rb") as signal:
            fcntl.flock(signal, fcntl.LOCK_EX)
            yield Exchange(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
