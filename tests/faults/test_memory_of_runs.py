"""A run over a file takes the same memory however long the file is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.letters import install

ROOT = Path(__file__).parents[2]
MB = 1 << 20


def peak(work: Path, rows: int) -> int:
    """The largest resident memory of a run over so many lines, bytes."""
    line = "a line of so many letters that the lines which are kept would show " * 4
    with (work / "in.txt").open("w") as file:
        for first in range(0, rows, 10_000):
            file.writelines(f"{line} {i}\n" for i in range(first, first + 10_000))
    program = (
        "import resource, runpy, sys\n"
        "try: runpy.run_module('vjaccel', run_name='__main__')\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)\n"
    )
    command = ["embed", "in.txt", "-o", f"{rows}.npy", "--model", "constant:64", "--json"]
    environment = os.environ | {"PYTHONPATH": f"{work.parent / 'plugins'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["statistics"]["embedded"] == rows
    return int(done.stderr.splitlines()[-1])


@pytest.fixture
def work(tmp_path: Path) -> Path:
    install(tmp_path / "plugins")
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.mark.parametrize(("few", "many"), [(10_000, 100_000), pytest.param(20_000, 300_000, marks=pytest.mark.soak)])
def test_ten_times_the_lines_take_no_more_memory(work: Path, few: int, many: int) -> None:
    assert peak(work, many) - peak(work, few) < 20 * MB


@pytest.mark.soak
def test_a_million_lines_and_five_take_no_more_memory_than_ten_thousand(work: Path) -> None:
    few = peak(work, 10_000)
    found = {rows: peak(work, rows) - few for rows in (100_000, 1_000_000, 5_000_000)}
    assert max(found.values()) < 60 * MB, found


STREAMED = """
import itertools, sys
import numpy as np, psutil
import vjaccel as vj

def texts(chunks):
    for chunk in range(chunks):
        yield f"mark {chunk - 1}"  # of the chunk before
        yield f"mark {chunk}"
        yield from (f"line {chunk} {i}" for i in range(998))

embedder = vj.Embedder(lambda texts: np.ones((len(texts), 256), np.float32))
for number, result in enumerate(embedder.stream(texts(int(sys.argv[1])), chunk_size=1000)):
    del result
print(psutil.Process().memory_info().rss)
"""


def test_a_stream_in_which_texts_come_again_takes_no_more_memory_as_it_goes_on() -> None:
    # Beyond the 100,000 texts that are remembered.
    short, long = (
        int(subprocess.run([sys.executable, "-c", STREAMED, chunks], capture_output=True, check=True).stdout)
        for chunks in ("150", "450")
    )
    assert long - short < 60 * MB
