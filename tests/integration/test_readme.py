"""Every code block of the README and of the pages for users, run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROWS = 200
PAGES = {
    page: (ROOT / page).read_text(encoding="utf-8")
    for page in (
        "README.md",
        "docs/embedding.md",
        "docs/report.md",
        "docs/collections.md",
        "docs/batch.md",
        "docs/monitoring.md",
    )
}
BLOCKS = [
    (page, *block)
    for page, text in PAGES.items()
    for block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
]
MAKE_TARGETS = re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def _of(asked: str) -> list[Any]:
    """The blocks of a language; those of other pages than the README take minutes together."""
    return [
        pytest.param(body, id=f"{page}-{number}", marks=[] if page == "README.md" else pytest.mark.soak)
        for number, (page, language, body) in enumerate(BLOCKS)
        if language == asked
    ]


def test_every_block_says_its_language_and_is_run_here() -> None:
    assert sum(len(re.findall(r"^```", text, re.MULTILINE)) for text in PAGES.values()) == 2 * len(BLOCKS)
    assert {language for _, language, _ in BLOCKS} <= {"python", "sh", "text"}


@pytest.mark.parametrize("body", _of("python"))
def test_a_python_block_runs_without_a_warning(body: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", body],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=_environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("body", _of("sh"))
def test_a_shell_block_runs(body: str, tmp_path: Path) -> None:
    lines = body.strip().splitlines()
    if lines[0].startswith("git clone"):
        # The suite is itself what `make test` runs, so of this block only that its targets exist can be shown here.
        targets = [line.split()[1] for line in lines if line.startswith("make ")]
        assert targets
        assert set(targets) <= set(MAKE_TARGETS)
        return
    _write_some(tmp_path)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", body],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=_environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr + done.stdout


def _write_some(folder: Path) -> None:
    """The texts of the examples, but fewer: what a block says is shown by some as well."""
    data = folder / "examples" / "data"
    data.mkdir(parents=True)
    with (ROOT / "examples" / "data" / "glosses.jsonl").open(encoding="utf-8") as lines:
        (data / "glosses.jsonl").write_text("".join(islice(lines, ROWS)), encoding="utf-8")


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(folder), "HF_HUB_OFFLINE": "1"}
