"""The folder of a Ray of this process's own, which nobody else may look into, and which goes with the process."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["OwnFolder"]

PREFIX = "vjray-"

BESIDE = Path("/tmp")  # noqa: S108  # the paths of sockets must be short
"""Where such folders are."""


class OwnFolder:
    """A folder that is held while this process lives; what processes that were killed have left is removed.

    Parameters
    ----------
    beside : Path
        Where it is made.

    Attributes
    ----------
    path : Path
        For Ray. It lets everybody into the folder that it is given: into the one around it comes this user alone.
    """

    def __init__(self, beside: Path = BESIDE) -> None:
        _remove_those_of_killed_processes(beside)
        while True:
            self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=beside))
            # Another process may have seen it before it was held, and have removed it.
            with suppress(FileNotFoundError):
                self._held = os.open(self._folder, os.O_RDONLY)
                fcntl.flock(self._held, fcntl.LOCK_EX)
                if self._folder.is_dir():
                    break
                os.close(self._held)
        self.path = self._folder / "ray"
        self.path.mkdir()

    def remove(self) -> None:
        """Remove it with all that is there."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._held)


def _remove_those_of_killed_processes(beside: Path) -> None:
    for path in beside.glob(f"{PREFIX}*"):
        with suppress(OSError):
            there = path.lstat()
            if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.geteuid():
                continue
            held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(held)
