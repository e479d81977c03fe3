"""What the journals of shards have comes into that of the run once, wherever the process that takes it in is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from vjaccel.embedding.journal import Journal
from vjaccel.embedding.journal_folder import recorded
from vjaccel.engines import kept_run
from vjaccel.engines.shards import STOP, shard_path, shards_path, stop_shards, take_in_shards
from vjaccel.engines.standing import journal_path
from vjaccel.telemetry import Recording

ROOT = Path(__file__).parents[3]
RUN = {"inputs": {"1: a.txt as txt": "digest"}, "identity": {"provider": "letters", "model": "3", "dimensions": 3}}
ROWS, SIZE, BEFORE = 10, 4, 2
SETTLED = {"embedded": 8, "cached": 0, "duplicate": 0, "failed": 2}


def recording(texts: int, failed: int = 0) -> Recording:
    made = Recording("letters:3", 1)
    made.settled("embedded", texts)
    for i in range(failed):
        made.failed(i, "TIMEOUT", "late")
    made.ended(failed=False)
    return made


def stopped_run(output: Path) -> None:
    """One that has two rows, and two shards of four, one of which failed in each."""
    with Journal(journal_path(output), RUN, ROWS) as journal:
        journal.append(np.arange(BEFORE), np.ones((BEFORE, 3), np.float32))
        journal.record(recording(BEFORE))
    folder = shards_path(output)
    folder.mkdir()
    for start in (BEFORE, BEFORE + SIZE):
        with Journal(shard_path(folder, start), {"run": RUN, "shard": [start, start + SIZE]}, SIZE) as shard:
            shard.append(np.arange(SIZE - 1), np.full((SIZE - 1, 3), start, np.float32))
            shard.fail([(SIZE - 1, "TIMEOUT", "late")])
            shard.record(recording(SIZE - 1, 1))
    stop_shards(folder)


def gone_on_with(output: Path) -> None:
    with Journal(journal_path(output), RUN, ROWS) as journal:
        take_in_shards(journal, shards_path(output), RUN, anew=False)


def killed_at_each_step(folder: Path) -> None:
    """Have copies of this process go on with a stopped run, each killed a step of its files later, until one is not."""
    for steps in range(1000):
        output, left = folder / f"{steps}.npy", [steps]
        stopped_run(output)

        def look(event: str, arguments: tuple[object, ...], left: list[int] = left) -> None:
            if event.startswith(("os.", "open", "shutil.")) and any(str(folder) in str(one) for one in arguments[:2]):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        child = os.fork()
        if not child:
            sys.addaudithook(look)
            gone_on_with(output)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return


def test_wherever_it_is_killed_each_shard_is_counted_once(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.unit.engines.test_shards_taken_in", str(tmp_path)], check=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"},
    )  # fmt: skip
    moments = [path.with_name(path.name.removesuffix(".journal")) for path in tmp_path.glob("*.journal")]
    assert len(moments) > 20
    for output in moments:
        assert kept_run(output).recording.outcomes == SETTLED, output
        gone_on_with(output)
        found = recorded(journal_path(output))
        assert found is not None
        assert found.outcomes == SETTLED, output
        with Journal(journal_path(output), RUN, ROWS) as journal:
            assert journal.vectors(np.arange(ROWS), 3)[:, 0].tolist()[:5] == [1, 1, 2, 2, 2]
            assert sorted(journal.errors()) == [5, 9]
        assert not (shards_path(output) / STOP).exists()
        assert not shards_path(output).exists()


if __name__ == "__main__":
    killed_at_each_step(Path(sys.argv[1]))
