"""Every code block of the README and of the pages for users.

`make soak` runs each as it stands, in a process of its own; `make test` those of the README, with one process for all of a
language: to load the libraries takes longer than what most blocks do with them.
"""

from __future__ import annotations

import json
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


PYTHON = """
import json, sys
for body in json.load(sys.stdin):
    exec(compile(body, body, "exec"), {"__name__": "__main__"})
"""

COMMANDS = """
import json, shlex, sys
from vjaccel.cli import main
for body in json.load(sys.stdin):
    for line in body.splitlines():
        sys.argv = shlex.split(line, comments=True)
        assert sys.argv[0] == "vjaccel", line
        try:
            main()
        except SystemExit as exc:
            assert not exc.code, line
"""


def _of(asked: str) -> list[Any]:
    """The blocks of a language."""
    return [
        pytest.param(body, id=f"{page}-{number}")
        for number, (page, language, body) in enumerate(BLOCKS)
        if language == asked
    ]


def _of_the_readme(asked: str) -> list[str]:
    """Its blocks of a language but the first, which installs and says what to `make`."""
    found = [body for page, language, body in BLOCKS if (page, language) == ("README.md", asked)]
    return [body for body in found if not _is_of_targets(body)]


def _is_of_targets(body: str) -> bool:
    return body.startswith("git clone")


def test_every_block_says_its_language_and_is_run_here() -> None:
    assert sum(len(re.findall(r"^```", text, re.MULTILINE)) for text in PAGES.values()) == 2 * len(BLOCKS)
    assert {language for _, language, _ in BLOCKS} <= {"python", "sh", "text"}


@pytest.mark.parametrize(
    ("language", "command"),
    [("python", ["-W", "error::UserWarning", "-c", PYTHON]), ("sh", ["-c", COMMANDS])],
    ids=["python", "sh"],
)
def test_the_blocks_of_the_readme_run_one_after_the_other(language: str, command: list[str], tmp_path: Path) -> None:
    blocks = _of_the_readme(language)
    assert blocks
    _write_some(tmp_path)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        input=json.dumps(blocks),
        capture_output=True,
        text=True,
        check=False,
        env=_environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_the_first_block_names_targets_that_there_are() -> None:
    (body,) = (body for page, _, body in BLOCKS if page == "README.md" and _is_of_targets(body))
    # The suite is itself what `make test` runs, so of this block only that its targets exist can be shown here.
    targets = [line.split()[1] for line in body.splitlines() if line.startswith("make ")]
    assert targets
    assert set(targets) <= set(MAKE_TARGETS)


@pytest.mark.soak
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


@pytest.mark.soak
@pytest.mark.parametrize("body", [block for block in _of("sh") if not _is_of_targets(block.values[0])])
def test_a_shell_block_runs(body: str, tmp_path: Path) -> None:
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
