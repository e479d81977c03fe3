"""What is known of a run that has not ended: its journal, and those of the shards that its workers have not given back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vjaccel.embedding.journal import Journal
from vjaccel.engines import kept_run
from vjaccel.engines.shards import shard_path, shards_path
from vjaccel.engines.standing import journal_path
from vjaccel.telemetry import Recording

RUN = {"inputs": {"1: a.txt as txt": "digest"}, "identity": {"provider": "letters", "model": "3", "dimensions": 3}}


def recorded(texts: int, *, over: bool) -> Recording:
    made = Recording("letters:3", 1)
    made.settled("embedded", texts)
    if over:
        made.ended(failed=False)
    return made


def test_what_workers_have_done_that_was_not_taken_in_is_counted(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    with Journal(journal_path(output), RUN, 10) as journal:
        journal.append(np.arange(4), np.ones((4, 3), np.float32))
        journal.record(recorded(4, over=False))
        shards_path(output).mkdir()
        with Journal(shard_path(shards_path(output), 5), {"run": RUN, "shard": [5, 10]}, 5) as shard:
            shard.append(np.array([0, 1, 3]), np.ones((3, 3), np.float32))
            shard.fail([(4, "TIMEOUT", "late")])
            shard.record(recorded(2, over=False))
    found = kept_run(output)
    assert found.journal is not None
    assert found.journal.done.tolist() == [True] * 4 + [False, True, True, False, True, False]
    assert found.journal.errors() == {9: ("TIMEOUT", "late")}
    recording = found.recording
    assert (recording.outcomes["embedded"], recording.unrecorded, recording.outcomes["failed"]) == (6, 1, 1)
    assert not recording.complete


def test_a_run_that_was_killed_before_it_kept_what_it_was_like_is_known_by_its_journal(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    with Journal(journal_path(output), RUN, 10) as journal:
        journal.append(np.arange(4), np.ones((4, 3), np.float32))
    recording = kept_run(output).recording
    assert (recording.model, recording.unrecorded, recording.seconds) == ("letters:3", 4, 0.0)


def test_a_run_that_was_stopped_keeps_what_failed_last_though_that_is_tried_again(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    made = Recording("letters:3", 1)
    made.settled("embedded", 4)
    made.failed(5, "TIMEOUT", "late")
    made.ended(failed=True, stopped_by="by an error: too late")
    with Journal(journal_path(output), RUN, 10) as journal:
        journal.append(np.arange(4), np.ones((4, 3), np.float32))
        journal.record(made)
    recording = kept_run(output).recording
    assert (recording.complete, recording.outcomes["failed"], recording.stopped_by) == (
        True,
        1,
        "by an error: too late",
    )
