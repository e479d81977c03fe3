"""What is shown of a run on a cluster is what the journals of its shards have, those under way and those that ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from vjaccel.embedding.journal import Journal
from vjaccel.engines.ray_shown import Shown
from vjaccel.engines.shards import shard_path
from vjaccel.telemetry import Recording

SIZES = {0: 100, 100: 100, 200: 50}


def recorded(texts: int) -> Recording:
    made = Recording("letters:3", 1)
    made.settled("embedded", texts)
    made.ended(failed=False)
    return made


def writes(folder: Path, start: int, texts: int) -> None:
    """What a worker does that has embedded so many."""
    with Journal(shard_path(folder, start), {"shard": [start, start + SIZES[start]]}, SIZES[start]) as journal:
        journal.record(recorded(texts))


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path, SIZES, Recording("letters:3", 1), 0.0)


def test_rows_are_those_of_shards_under_way_and_of_those_that_ended(shown: Shown, tmp_path: Path) -> None:
    assert shown.look()
    assert shown.done == 0
    writes(tmp_path, 0, 30)
    writes(tmp_path, 200, 10)
    shown.look()
    assert shown.done == 40
    writes(tmp_path, 0, 70)
    shown.look()
    assert shown.done == 80
    # Rows that nobody has told of as they were settled before a worker died are done with their shard.
    shown.ended(0, recorded(90))
    assert shown.done == 110
    shown.look()
    assert shown.done == 110
    shown.ended(100, None)
    shown.ended(200, recorded(50))
    assert shown.done == 250


def test_what_is_told_of_a_shard_is_told_once(tmp_path: Path) -> None:
    live = Recording("letters:3", 1)
    shown = Shown(tmp_path, SIZES, live, 0.0)
    for texts in (30, 70):
        writes(tmp_path, 0, texts)
        shown.look()
        assert live.outcomes["embedded"] == texts
    shown.ended(0, recorded(100))
    assert live.outcomes["embedded"] == 100


def test_what_is_no_shard_of_the_run_is_left_alone(shown: Shown, tmp_path: Path) -> None:
    for name in ("stop", "released", "taken", ".000000000100.removed", "000000000300"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recording.json").write_text("{}")
    shown.look()
    assert shown.done == 0
