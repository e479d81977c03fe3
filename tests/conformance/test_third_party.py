"""examples/plugin_backend, as its reader would use it: installed by pip, into an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytest.importorskip("faiss")

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "plugin_backend"
WITH_FAISS = "dot or is_a_backend or comes_through or prepared"
"""What is faiss' own, and not inherited."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, folder / "source")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    # What is installed here is there too, so that nothing has to be fetched.
    (site / "here.pth").write_text("\n".join([*map(str, site_packages()), str(ROOT), str(ROOT / "backends")]))
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", folder / "source"], check=True)
    return folder


def site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [package / "venv" / "bin" / "python", *arguments],
        cwd=package / "source",
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_listed_and_searches(package: Path) -> None:
    code = """
import faiss, numpy as np, vjaccel as vj
(row,) = [row for row in vj.backends() if row.name == "faiss"]
assert row.usable and row.devices == ("cpu",) and row.version == faiss.__version__, row
rows = np.asarray([[0.0, 1.0], [2.0, 0.0], [2.0, 0.0]], np.float32)
assert vj.topk([1.0, 0.0], rows, k=2, backend="faiss").indices.tolist() == [1, 2]
"""
    done = run(package, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr


def test_copies_of_a_row_that_faiss_ranks_as_they_lie_are_ranked_by_number(package: Path) -> None:
    code = """
import numpy as np, vjaccel as vj
rows = np.random.default_rng(0).standard_normal((5000, 48), dtype=np.float32)
rows[np.random.default_rng(1).permutation(5000)[:2500]] = rows[7]
found = vj.topk(rows[7:9], rows, 20, metric="dot", backend="faiss")
usual = vj.topk(rows[7:9], rows, 20, metric="dot")
assert (found.indices == usual.indices).all() and (found.values == usual.values).all()
"""
    done = run(package, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("asked", [WITH_FAISS, pytest.param("", marks=pytest.mark.soak)], ids=["with faiss", "all"])
def test_it_passes_the_conformance_suite(package: Path, asked: str) -> None:
    done = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-k", asked)
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
