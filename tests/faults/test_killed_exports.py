"""An export over files that are there, killed at each moment at which one takes its name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj

pytest.importorskip("lance", reason="the extra store is not installed")

# Dies when so many files have got their names.
EXPORTING = """
import os, signal, sys
from pathlib import Path
from vjaccel.cli import main
left, place = int(sys.argv.pop(1)), Path.replace
def replace(self, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return place(self, target)
Path.replace = replace
main()
"""


def vjaccel(folder: Path, *arguments: str, dies_after: int = 99) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", EXPORTING, str(dies_after), *arguments], cwd=folder, capture_output=True, text=True,
        check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, list[float]]]]:
    """A folder with two collections and an export of the first, and what the two hold."""
    folder, states = tmp_path_factory.mktemp("exported"), []
    for name in ("old", "new"):
        with vj.Collection.open(folder / name, dim=2, create=True) as col:
            states.append({f"{name}{i}": [float(name == "new"), float(i)] for i in range(5)})
            col.insert(list(states[-1]), list(states[-1].values()))
    assert vjaccel(folder, "collection", "export", "old", "-o", "out.npy").returncode == 0
    return folder, states


@pytest.mark.parametrize(
    "files", [pytest.param(n, marks=[pytest.mark.soak] if n in (0, 2, 4) else []) for n in range(6)]
)
def test_a_pair_is_of_one_export_or_is_none(
    tmp_path: Path, exported: tuple[Path, list[dict[str, list[float]]]], files: int
) -> None:
    before, states = exported
    shutil.copytree(before, tmp_path, dirs_exist_ok=True)
    vjaccel(tmp_path, "collection", "export", "new", "-o", "out.npy", "--overwrite", dies_after=files)
    done = vjaccel(tmp_path, "collection", "import", "read", "out.npy")
    if done.returncode:
        assert "out.npy: No such file or directory" in done.stderr
        return
    with vj.Collection.open(tmp_path / "read") as col:
        (rows,) = col.iter_batches()
    found = dict(zip(rows.ids, np.asarray(rows.vectors).tolist(), strict=True))
    assert found in states
