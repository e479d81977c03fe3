"""The built wheel in an environment of its own: an editable install finds things by accident."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.wheel

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (found,) = folder.glob("vjaccel-*.whl")
    return found


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A command of a clean environment that has the wheel and its core dependencies, no extra."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False)
    # Of what is compiled here most is never loaded.
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--quiet", "--no-compile"]
    install = [*pip, "-c", ROOT / "constraints.txt", wheel]
    subprocess.run(install, check=True, capture_output=True, text=True)

    def in_clean(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [folder / "bin" / program, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )

    return in_clean


def test_the_wheel_holds_all_import_packages_and_their_type_marks(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packages = ("vjaccel", "vjaccel_numpy", "vjaccel_jax", "vjaccel_torch", "vjaccel_cupy")
    assert all(f"{package}/{file}" in names for package in packages for file in ("__init__.py", "py.typed"))
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "backends/"))]


def test_the_core_alone_searches_on_numpy(run: Run) -> None:
    code = "import vjaccel as vj; print(vj.topk([1.0, 0.0], [[0.0, 1.0], [2.0, 0.0]], k=1).indices, vj.__version__)"
    done = run("python", "-W", "error", "-c", code)
    assert (done.returncode, done.stdout.split()[0]) == (0, "[1]"), done.stderr


def test_every_public_name_can_be_loaded_by_the_core_alone(run: Run) -> None:
    done = run("python", "-W", "error", "-c", "import vjaccel; [getattr(vjaccel, name) for name in vjaccel.__all__]")
    assert done.returncode == 0, done.stderr


def test_the_command_lists_the_backends_and_how_to_install_those_that_are_missing(run: Run) -> None:
    done = run("vjaccel", "backends", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["numpy"]["usable"]
    assert [rows[name]["usable"] for name in ("torch", "jax", "cupy")] == [False, False, False]
    assert "vjaccel[torch]" in rows["torch"]["install"]


@pytest.mark.parametrize("command", ["embed", "search"])
def test_a_command_whose_extra_is_missing_says_which_to_install(run: Run, command: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    arguments = {"embed": [str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.parquet")],
                 "search": [str(tmp_path / "in.parquet"), "one"]}  # fmt: skip
    (tmp_path / "in.parquet").write_bytes(b"PAR1")
    done = run("vjaccel", command, *arguments[command])
    assert done.returncode == 1
    assert "pip install 'vjaccel[" in done.stderr
    assert "Traceback" not in done.stderr
