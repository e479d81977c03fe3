"""What a recording has of several devices: added up over the calls of a run and over its parts, and None where nobody knows."""

from __future__ import annotations

import json

import pytest

from vjaccel.telemetry import BatchEnded, DeviceTakenOut, Happened, OfDevice, Recording, listening


class Made:
    """A recording by a clock that is set by hand."""

    def __init__(self, *devices: str) -> None:
        self.now = 0.0
        self.recording = Recording("several:m", 2, clock=lambda: self.now)
        self.recording.on_devices(devices)

    def batch(self, device: str, *, began: float, ended: float, tokens: int | None = 40, failed: bool = False) -> None:
        self.now = began
        self.recording.batch_began(64, device)
        self.now = ended
        self.recording.batch_ended(BatchEnded(4, tokens, None, ended - began, 0.0, 0, 64, failed, device), None)

    def over(self, at: float) -> Recording:
        self.now = at
        self.recording.ended(failed=False)
        return self.recording


def a_run() -> Recording:
    made = Made("gpu:0", "gpu:1")
    made.batch("gpu:0", began=0.0, ended=1.0)
    made.batch("gpu:0", began=2.0, ended=3.0)
    made.batch("gpu:1", began=3.0, ended=4.0)
    return made.over(8.0)


def test_each_device_has_what_it_did_and_how_long_it_was_there() -> None:
    found = a_run().devices
    assert found == {"gpu:0": OfDevice(8, 2, 80, 2.0, 2.0, 8.0), "gpu:1": OfDevice(4, 1, 40, 1.0, 1.0, 8.0)}
    assert [one.share_busy for one in found.values()] == [0.25, 0.125]


def test_batches_that_a_device_has_at_once_make_it_no_busier_than_it_is() -> None:
    made = Made("gpu:0", "cpu")
    for at in (0.0, 1.0):
        made.now = at
        made.recording.batch_began(64, "cpu")
    for at in (2.0, 3.0):
        made.now = at
        made.recording.batch_ended(BatchEnded(4, 40, None, 2.0, 0.0, 0, 64, False, "cpu"), None)
    found = made.over(4.0).devices["cpu"]
    assert (found.seconds, found.busy, found.share_busy) == (4.0, 3.0, 0.75)


def test_a_device_is_busy_while_a_batch_is_under_way() -> None:
    made = Made("gpu:0", "gpu:1")
    made.now = 1.0
    made.recording.batch_began(64, "gpu:0")
    made.now = 3.0
    assert made.recording.devices["gpu:0"] == OfDevice(0, 0, 0, 0.0, 2.0, 3.0)
    assert made.recording.copy().devices == made.recording.devices


def test_tokens_that_nobody_counts_are_none_and_not_none_of_them() -> None:
    made = Made("gpu:0", "gpu:1")
    made.batch("gpu:0", began=0.0, ended=1.0, tokens=None)
    found = made.over(2.0)
    assert found.devices["gpu:0"].tokens is None
    assert found.devices["gpu:1"].tokens == 0  # of no text
    assert found.followed_by(a_run()).devices["gpu:0"].tokens is None


def test_a_batch_that_failed_keeps_its_device_busy_and_is_not_counted() -> None:
    made = Made("gpu:0", "gpu:1")
    made.batch("gpu:1", began=0.0, ended=1.0, failed=True)
    made.recording.taken_out("gpu:1", "RuntimeError: gone")
    assert made.over(8.0).devices["gpu:1"] == OfDevice(0, 0, 0, 0.0, 1.0, 1.0, "RuntimeError: gone", 1)


def test_what_calls_of_a_run_did_adds_up() -> None:
    other = Made("gpu:0", "cpu")
    other.batch("gpu:0", began=0.0, ended=1.0)
    other.batch("cpu", began=0.0, ended=2.0)
    other.recording.taken_out("cpu", "RuntimeError: gone")
    both = a_run().followed_by(other.over(4.0))
    assert both.devices == {
        "gpu:0": OfDevice(12, 3, 120, 3.0, 3.0, 12.0),
        "gpu:1": OfDevice(4, 1, 40, 1.0, 1.0, 8.0),
        "cpu": OfDevice(4, 1, 40, 2.0, 2.0, 2.0, "RuntimeError: gone", 1),
    }


def test_what_devices_did_comes_back_from_json_and_a_recording_without_it_has_none() -> None:
    values = json.loads(json.dumps(a_run().to_dict()))
    assert Recording.from_dict(values).devices == a_run().devices
    del values["devices"]
    assert Recording.from_dict(values).devices == {}
    with pytest.raises(ValueError, match="recording"):
        Recording.from_dict(values | {"devices": {"gpu:0": [1, 2]}})


def test_what_parts_did_is_taken_in_by_and_by_and_once() -> None:
    whole, before = Recording("several:m", 4, tells=False), None
    made = Made("gpu:0", "gpu:1")
    for at in range(3):
        made.batch("gpu:1", began=at, ended=at + 1.0)
        now = made.recording.copy()
        whole.take_in(now.since(before))
        before = now
    assert whole.devices["gpu:1"] == OfDevice(12, 3, 120, 3.0, 3.0, 3.0)


def test_each_failure_of_a_device_of_a_part_is_told_once() -> None:
    whole, heard = Recording("several:m", 4), list[Happened]()
    made = Made("gpu:0", "gpu:1")
    with listening(heard.append):
        before = None
        for at in range(3):
            made.batch("gpu:0", began=at, ended=at + 1.0)
            if at == 1:
                made.recording.taken_out("gpu:1", "RuntimeError: gone")
                heard.clear()  # what the part tells where it is
            now = made.recording.copy()
            whole.take_in(now.since(before))
            before = now
        later = Made("gpu:0")
        later.recording.taken_out("gpu:1", "RuntimeError: gone", earlier=True)
        later.batch("gpu:0", began=0.0, ended=1.0)
        whole.take_in(later.over(2.0).copy())
    assert [one for one in heard if isinstance(one.event, DeviceTakenOut)] == [
        Happened(DeviceTakenOut("gpu:1"), "several:m")
    ]
    assert whole.devices["gpu:1"].taken_out == "RuntimeError: gone"
    assert whole.devices["gpu:1"].failures == 1
