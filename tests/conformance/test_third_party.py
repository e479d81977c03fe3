"""examples/third_party_backend, as its reader would use it: installed by pip, into a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("array_api_strict")

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_backend"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("third_party")
    shutil.copytree(EXAMPLE, folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site", folder / "source"],
        check=True,
    )
    return folder


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(package / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=package / "source", env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_is_listed_and_searches(package: Path) -> None:
    code = """
import numpy as np, array_api_strict as strict, vjaccel as vj
(row,) = [row for row in vj.backends() if row.name == "mine"]
assert row.usable and row.devices == ("cpu",) and row.version == strict.__version__, row
rows = np.asarray([[0.0, 1.0], [2.0, 0.0], [2.0, 0.0]])
assert vj.topk([1.0, 0.0], rows, k=2, backend="mine").indices.tolist() == [1, 2]
found = vj.topk(strict.asarray(rows), strict.asarray(rows), k=1)
assert type(found.indices) is type(strict.asarray(rows)), type(found.indices)
"""
    done = run(package, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr


def test_it_passes_the_conformance_suite(package: Path) -> None:
    done = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_the_suite_without_pytest_says_what_to_install() -> None:
    code = """
import sys
sys.modules["pytest"] = None
try:
    import vjaccel.arrays.testing
except ImportError as exc:
    print(type(exc).__mro__[1].__name__, exc.code, exc.install, "|", exc)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "MissingExtra MISSING_EXTRA pip install pytest | vjaccel.arrays.testing needs pytest: pip install pytest"
    )
