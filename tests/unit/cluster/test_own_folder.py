"""The folder of a Ray of one's own goes with its process, and nobody's is taken from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from vjaccel.cluster.own_folder import OwnFolder

HOLDER = """
import sys
from pathlib import Path
from vjaccel.cluster.own_folder import OwnFolder
own = OwnFolder(Path(sys.argv[1]))
(own.path / "log").touch()
print(own.path, flush=True)
sys.stdin.read()
"""


def another(beside: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with such a folder, and that."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(beside)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_nobody_else_may_look_into_it_whatever_ray_does_with_its_own(tmp_path: Path) -> None:
    own = OwnFolder(tmp_path)
    own.path.chmod(0o777)
    assert own.path.parent.parent == tmp_path
    assert own.path.parent.stat().st_mode & 0o777 == 0o700
    own.remove()
    assert not list(tmp_path.iterdir())


def test_that_of_a_killed_process_goes_with_the_next_and_that_of_a_living_one_does_not(tmp_path: Path) -> None:
    killed, left = another(tmp_path)
    living, held = another(tmp_path)
    with killed, living:
        killed.kill()
        killed.wait()
        assert left.is_dir()
        OwnFolder(tmp_path).remove()
        assert not left.parent.exists()
        assert (held / "log").is_file()
        living.communicate()


def test_nothing_but_such_folders_is_removed(tmp_path: Path) -> None:
    (tmp_path / "vjray-file").write_text("a file")
    (tmp_path / "elsewhere" / "full").mkdir(parents=True)
    (tmp_path / "vjray-link").symlink_to(tmp_path / "elsewhere")
    OwnFolder(tmp_path).remove()
    assert (tmp_path / "vjray-file").is_file()
    assert (tmp_path / "vjray-link" / "full").is_dir()
