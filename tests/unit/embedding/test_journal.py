"""The journal of a run: what it keeps, what it makes of torn files, and whom it refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.embedding.journal import Journal
from vjaccel.embedding.journal_folder import Kept, changed
from vjaccel.errors import OutputError
from vjaccel.telemetry import Recording

RUN = {"inputs": {"1: a.txt as txt": "digest"}, "identity": {"model": "m", "dimensions": 3}}
VECTORS = np.arange(18, dtype=np.float32).reshape(6, 3)


def filled(folder: Path) -> None:
    with Journal(folder, RUN, 6) as journal:
        journal.append(np.array([4, 0, 1]), VECTORS[[4, 0, 1]])
        journal.append(np.array([3]), VECTORS[[3]])
        journal.fail([(2, "INVALID_TEXT", "it is none")])


def test_what_was_kept_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with Journal(tmp_path / "j", RUN, 6) as journal:
        assert journal.done.tolist() == [True, True, False, True, True, False]
        assert journal.settled(1, 6).tolist() == [True, True, True, True, False]
        assert (journal.settled(0, 6).sum(), journal.dim, journal.error(2)) == (5, 3, ("INVALID_TEXT", "it is none"))
        found = journal.vectors(np.array([4, 5, 0]), 3)
        np.testing.assert_array_equal(found[[0, 2]], VECTORS[[4, 0]])
        assert np.isnan(found[1]).all()


def test_rows_that_failed_are_open_again_when_asked_and_stay_so(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with Journal(tmp_path / "j", RUN, 6) as journal:
        journal.forget_failures()
    with Journal(tmp_path / "j", RUN, 6) as journal:
        assert journal.error(2) is None
        assert journal.settled(0, 6).sum() == 4


def test_how_many_rows_there_are_and_were_taken_up_is_kept_too(tmp_path: Path) -> None:
    assert len(Kept.of(tmp_path / "j").done) == 0
    filled(tmp_path / "j")
    with Journal(tmp_path / "j", RUN, 6) as journal:
        assert journal.copies is None
        journal.took_up(2)
    found = Kept.of(tmp_path / "j")
    assert (found.done.tolist(), found.copies) == ([True, True, False, True, True, False], 2)
    agreed = found.agreed(Recording.unknown("m"))
    assert (agreed.unrecorded, agreed.failures) == (2, {"INVALID_TEXT": (1, [(2, "it is none")])})


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_journal_whose_end_is_torn_off_loses_what_was_torn_and_can_be_written_on(tmp_path: Path, cut: int) -> None:
    filled(tmp_path / "j")
    lines = tmp_path / "j" / "journal.jsonl"
    lines.write_bytes(lines.read_bytes()[:-cut])
    with Journal(tmp_path / "j", RUN, 6) as journal:
        assert journal.error(2) is None
        assert journal.done[[0, 1, 4]].all()
        journal.append(np.array([5, 3]), VECTORS[[5, 3]])
    with Journal(tmp_path / "j", RUN, 6) as journal:
        assert journal.done.tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize("tear", ["short", "changed"])
def test_vectors_that_are_torn_are_done_again_and_the_others_kept(tmp_path: Path, tear: str) -> None:
    filled(tmp_path / "j")
    file = tmp_path / "j" / "vectors.f32"
    content = bytearray(file.read_bytes())
    content[4 * 12 + 1] ^= 1
    file.write_bytes(content[: 4 * 12 + 5] if tear == "short" else content)
    with Journal(tmp_path / "j", RUN, 6) as journal:
        assert journal.done.tolist() == [False, False, False, True, False, False]


def test_garbage_among_the_lines_ends_what_is_believed(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    lines = tmp_path / "j" / "journal.jsonl"
    rows, dim, first, *rest = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(b"".join([rows, dim, first, b"\x00\xff garbage\n", *rest]))
    with Journal(tmp_path / "j", RUN, 6) as journal:
        assert journal.done.tolist() == [True, True, False, False, True, False]


def test_the_journal_of_another_run_is_refused_with_what_changed(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    other = {"inputs": {"1: a.txt as txt": "another"}, "identity": {"model": "m", "dimensions": 2}}
    with pytest.raises(vj.OutputError, match=r"what is in a.txt as txt has changed; identity dimensions was 3"):
        Journal(tmp_path / "j", other, 6)


def test_two_runs_at_once_do_not_share_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", RUN, 6), pytest.raises(vj.OutputError, match="another run is writing"):
        Journal(tmp_path / "j", RUN, 6)


def test_what_is_kept_is_read_beside_the_run_that_writes_it_and_stays_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with Journal(tmp_path / "j", RUN, 6) as journal:
        lines = tmp_path / "j" / "journal.jsonl"
        with lines.open("ab") as file:
            file.write(b'{"rows":[5')
        before = lines.read_bytes()
        kept = Kept.of(tmp_path / "j", 6)
        assert kept.done.tolist() == journal.done.tolist()
        assert (kept.settled(0, 6).sum(), kept.dim, kept.error(2)) == (5, 3, ("INVALID_TEXT", "it is none"))
        assert lines.read_bytes() == before


def test_of_a_journal_that_is_not_there_or_says_nothing_nothing_is_kept(tmp_path: Path) -> None:
    assert not Kept.of(tmp_path / "none", 6).done.any()
    assert list(tmp_path.iterdir()) == []
    filled(tmp_path / "j")
    (tmp_path / "j" / "run.json").write_text("{torn")
    assert not Kept.of(tmp_path / "j", 6).done.any()


def test_whether_a_journal_was_begun_anew_lasts(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    assert not Kept.of(tmp_path / "j", 6).anew
    Journal(tmp_path / "j", RUN, 6, anew=True).close()
    assert Kept.of(tmp_path / "j", 6).anew
    with Journal(tmp_path / "j", RUN, 6) as journal:
        assert journal.anew
        assert not journal.settled(0, 6).any()


def test_a_journal_without_its_description_begins_anew(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    (tmp_path / "j" / "run.json").write_text("{torn")
    with Journal(tmp_path / "j", RUN, 6) as journal:
        assert journal.settled(0, 6).sum() == 0


def test_differences_name_what_is_new_and_what_is_gone() -> None:
    assert changed({"a": 1, "b": {"c": 2}}, {"b": {"c": 2}, "d": [3]}) == ["a was 1, now null", "d was null, now [3]"]


def test_vectors_of_another_width_are_refused_and_those_there_stay(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with Journal(tmp_path / "j", RUN, 6) as journal:
        with pytest.raises(vj.OutputError, match=r"^the vectors in .* have width 3, and now 5: .* begin anew$"):
            journal.append(np.array([2]), np.ones((1, 5), np.float32))
        np.testing.assert_array_equal(journal.vectors(np.array([3, 4]), 3), VECTORS[[3, 4]])


def test_a_journal_begun_anew_has_nothing_and_is_not_another_runs(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with Journal(tmp_path / "j", {"inputs": {}}, 6, anew=True) as journal:
        assert journal.settled(0, 6).sum() == 0


def test_a_journal_in_use_is_not_begun_anew(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with Journal(tmp_path / "j", RUN, 6) as journal:
        with pytest.raises(vj.OutputError, match="another run is writing"):
            Journal(tmp_path / "j", RUN, 6, anew=True)
        assert journal.settled(0, 6).sum() == 5


def test_a_journal_that_is_removed_leaves_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    Journal(tmp_path / "j", RUN, 6).remove()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_whose_disk_fails_lets_go_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal = Journal(tmp_path / "j", {"a": 1}, 3)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(OutputError, match="Input/output error"):
            journal.close()
    Journal(tmp_path / "j", {"a": 1}, 3).close()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("run.json cut", "has no run.json that can be read"),
        ("run.json gone", "has no run.json that can be read"),
        ("journal.jsonl cut", "of journal.jsonl cannot be read"),
        ("journal.jsonl gone", "has vectors, and no lines"),
        ("vectors.f32 cut", "the vectors of 3 rows are damaged"),
        ("vectors.f32 gone", "the vectors of 4 rows are damaged"),
    ],
)
def test_what_is_damaged_is_said(tmp_path: Path, damage: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path / "j")
    with Journal(tmp_path / "j", RUN, 6):
        assert not caplog.messages
    name, what = damage.split()
    path = tmp_path / "j" / name
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: -path.stat().st_size // 5])
    with Journal(tmp_path / "j", RUN, 6):
        pass
    assert [said in message for message in caplog.messages][:1] == [True]
