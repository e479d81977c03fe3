"""The folder for a machine with a GPU: what is in it, and its run.sh tried on CPUs, in small sizes and without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
STEPS = ["install", "exactness", "search", "streaming", "embed", "report"]

OF_THE_BOX = (
    "numpy==2.5.*", "jax==0.11.*", "numba", "scipy", "pyarrow", "typer", "rich", "pytest", "pytest-benchmark", "hypothesis",
)  # fmt: skip
"""What the machine has and can be had in a minute. Its torch is a build of gigabytes; the other rehearsal has a small one."""

pytestmark = pytest.mark.bundle


def made(folder: Path, python: str) -> Path:
    command = [sys.executable, ROOT / "gpu/bundle.py", folder, "--python", python]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


def run(bundle: Path, out: Path, python: Path) -> subprocess.CompletedProcess[str]:
    """run.sh in a shell that reaches no index, no hub and no other machine."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "HF_ENDPOINT")
    environment = dict.fromkeys((*names, *map(str.lower, names[:3])), NOWHERE) | {
        "PATH": os.environ["PATH"], "HOME": str(out.parent), "PYTHON": str(python), "VJACCEL_REHEARSE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    return subprocess.run(
        ["bash", bundle / "run.sh", out], env=environment, capture_output=True, text=True, check=False
    )


def steps(out: Path) -> dict[str, str]:
    """How each step ended."""
    lines = (out / "steps.tsv").read_text().splitlines()
    return {name: code for name, code, _ in (line.split("\t") for line in lines)}


def counts(path: Path) -> dict[str, int]:
    suite = next(ElementTree.parse(path).iter("testsuite"))
    return {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the Python of the tests."""
    return made(tmp_path_factory.mktemp("bundle") / "gpu-bundle", HERE)


@pytest.fixture(scope="module")
def rehearsed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """All steps, on this environment's libraries."""
    out = tmp_path_factory.mktemp("rehearsal") / "out"
    return run(bundle, out, Path(sys.executable)), out


def test_the_bundle_for_the_machine_is_small_and_has_what_that_lacks(tmp_path: Path) -> None:
    folder = made(tmp_path / "gpu-bundle", "3.12")
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 60e6
    wheels = {path.name.partition("-")[0]: path.name for path in (folder / "wheels").iterdir()}
    assert {"vjaccel", "array_api_compat", "pip"} <= set(wheels)
    assert not {"numpy", "torch", "jax", "numba", "pytest", "typer"} & set(wheels)
    assert all(name.split("-")[2] in ("cp312", "py3", "py2.py3") or "-abi3-" in name for name in wheels.values())


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    command = [sys.executable, ROOT / "gpu/bundle.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is no bundle" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_every_step_runs_offline_and_leaves_its_result(
    rehearsed: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, out = rehearsed
    assert done.returncode == 0, done.stdout + done.stderr
    ended = steps(out)
    assert list(ended) == STEPS
    assert set(ended.values()) == {"done"}
    assert (out / "report.html").is_file()
    assert (out / "report.json").is_file()
    assert all((out / f"{name}.log").is_file() for name in STEPS)


@pytest.mark.parametrize("name", ["search", "streaming", "embed"])
def test_the_benchmarks_run_and_their_figures_are_kept(
    rehearsed: tuple[subprocess.CompletedProcess[str], Path], name: str
) -> None:
    _, out = rehearsed
    found = counts(out / f"{name}.xml")
    assert found["failures"] == found["errors"] == 0
    assert found["tests"] > found["skipped"]
    assert (out / f"{name}.json").stat().st_size > 0


@pytest.mark.parametrize("name", ["exactness-others-1", "exactness-jax-1", "exactness-embedding-1", "memory", "sizes"])
def test_without_a_gpu_its_tests_are_skipped_and_the_summary_says_why(
    rehearsed: tuple[subprocess.CompletedProcess[str], Path], name: str
) -> None:
    _, out = rehearsed
    found = counts(out / f"{name}.xml")
    assert found["tests"] == found["skipped"] > 0
    summary = (out / "summary.txt").read_text()
    assert f"{name} " in summary
    assert "has no device 'gpu:0' here" in summary


def test_the_summary_says_what_ran_on_what(rehearsed: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, out = rehearsed
    summary = (out / "summary.txt").read_text()
    assert summary in done.stdout
    assert "no nvidia-smi, or it fails" in summary
    assert f"Python {sys.version.split()[0]}" in summary
    assert all(f"  {name} " in summary for name in STEPS)
    assert "numpy " in (out / "versions.txt").read_text()


def test_a_machine_without_the_libraries_is_told_and_every_step_is_tried(bundle: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    done = run(bundle, tmp_path / "out", tmp_path / "bare/bin/python")
    assert done.returncode == 1
    ended = steps(tmp_path / "out")
    assert list(ended) == STEPS
    assert ended["install"].startswith("failed")
    assert "going on with what is there" in (tmp_path / "out/install.log").read_text()
    assert "the installation failed" in (tmp_path / "out/summary.txt").read_text()


def test_a_step_that_fails_or_takes_too_long_leaves_its_output_and_the_next_goes_on(
    bundle: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    script = (copy / "run.sh").read_text()
    assert "step search 270" in script
    (copy / "run.sh").write_text(script.replace("step search 270", "step search 10"))
    (copy / "test_long.py").write_text(
        "import time, pytest\n@pytest.mark.parametrize('i', range(99))\ndef test_long(i): time.sleep(0.5)\n"
    )
    long = 'PYTHONPATH=. "$PYTHON" -m pytest -p run_plugin --junitxml="$OUT/search.xml" test_long.py'
    (copy / "steps.sh").write_text(
        f"case $1 in exactness) echo nothing works; exit 3;; search) {long};; *) echo well;; esac\n"
    )
    done = run(copy, tmp_path / "out", Path(sys.executable))
    assert done.returncode == 1
    ended = steps(tmp_path / "out")
    assert ended == dict.fromkeys(STEPS, "done") | {
        "exactness": "failed, exit code 3",
        "search": "cut off after 10 s",
    }
    assert 0 < counts(tmp_path / "out/search.xml")["tests"] < 99
    assert "its time was up" in (tmp_path / "out/search.log").read_text()
    assert "nothing works" in (tmp_path / "out/summary.txt").read_text()


def test_the_tests_for_a_gpu_themselves_pass_on_a_cpu() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "tests/gpu",
        "--ignore=tests/gpu/test_gpu_conformance.py",
    ]
    environment = os.environ | {"VJACCEL_GPU_SPECS": "torch:cpu", "VJACCEL_REHEARSE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "24 passed" in done.stdout.splitlines()[-1]


def python312() -> Path | None:
    """A Python 3.12 that is here and works."""
    there = [shutil.which("python3.12"), *Path.home().glob(".pyenv/versions/3.12*/bin/python3.12")]
    for path in filter(None, there):
        if subprocess.run([path, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return Path(path)
    return None


def test_python_312_with_the_machines_newer_libraries_runs_what_it_can(tmp_path: Path) -> None:
    found = python312()
    if found is None:
        pytest.skip("no Python 3.12 is here")
    subprocess.run([found, "-m", "venv", tmp_path / "box"], check=True)
    python = tmp_path / "box/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-compile", *OF_THE_BOX]
    subprocess.run(install, check=True, capture_output=True, text=True)
    before = sorted(path.name for path in (tmp_path / "box").rglob("*.dist-info"))
    done = run(made(tmp_path / "bundle", "3.12"), tmp_path / "out", python)
    ended = steps(tmp_path / "out")
    assert [ended[name] for name in ("install", "search", "streaming", "embed")] == ["done"] * 4, done.stdout
    search = counts(tmp_path / "out/search.xml")
    assert search["failures"] == search["errors"] == 0
    assert search["tests"] > search["skipped"], "JAX's benchmarks ran"
    assert "jax 0.11" in (tmp_path / "out/summary.txt").read_text()
    assert sorted(path.name for path in (tmp_path / "box").rglob("*.dist-info")) == before, (
        "the machine's own are as before"
    )
