"""What is recorded of a run: all of it counted, some of it kept, the same from disk, and from many threads."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vjaccel.telemetry import (
    BatchEnded,
    BatchesEnded,
    Failures,
    Happened,
    Latencies,
    Recording,
    TextsSettled,
    TriedAgain,
    listening,
)
from vjaccel.telemetry.batches import TRIES
from vjaccel.telemetry.failures import CODES, EXAMPLES, OTHERS
from vjaccel.telemetry.recorded import CALLS


class Clock:
    """Goes as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def batch(texts: int = 2, *, budget: int = 64, seconds: float = 0.5, failed: bool = False) -> BatchEnded:
    return BatchEnded(texts, 10 * texts, 12 * texts, seconds, 0.25, 1, budget, failed)


def some_run(batches: int = 3, clock: Clock | None = None) -> Recording:
    clock = clock or Clock()
    made = Recording("letters:8", 2, clock=clock)
    made.began()
    for i in range(batches):
        made.read(3)
        made.prepared(3)
        made.batch_began(64 << i % 2)
        clock.now += 1.0
        made.batch_ended(batch(budget=64 << i % 2), np.array([7, 13]))
        made.settled("embedded", 2)
        made.failed(3 * i, "INVALID_TEXT", f"it is {i}")
        made.look(1000 + i, lambda: clock.now / 2, lambda: None)
    made.ended(failed=False)
    return made


def same(one: Recording, other: Recording) -> None:
    assert one.outcomes == other.outcomes
    assert one.failures == other.failures
    assert one.calls == other.calls
    assert one.budgets == other.budgets
    assert one.seconds == pytest.approx(other.seconds, abs=1e-3)
    assert one.latencies.counts() == other.latencies.counts()
    assert {k: v.tolist() for k, v in one.lengths.items()} == {k: v.tolist() for k, v in other.lengths.items()}
    np.testing.assert_allclose(one.tries, other.tries)
    for name, values in one.timeline.values.items():
        np.testing.assert_allclose(other.timeline.values[name], values, atol=1e-3)


def test_a_run_is_counted_by_what_became_of_it() -> None:
    found = some_run()
    assert found.outcomes == {"embedded": 6, "cached": 0, "duplicate": 0, "failed": 3}
    assert found.stages == (9, 9, 9, 0, 2, 64)
    assert found.budgets == {64: (2, 40, 1.0, 4, 48), 128: (1, 20, 0.5, 2, 24)}
    assert found.lengths.keys() == {8, 16}
    assert found.lengths[8].tolist() == [3, 21, 15]
    assert found.lengths[16].tolist() == [3, 39, -3]
    assert found.timeline.values["retries"].sum() == 3
    assert found.timeline.values["cpu_seconds"].sum() == pytest.approx(1.5)
    assert np.isnan(found.timeline.values["device_bytes"]).all()
    assert found.latencies.quantile(0.99) == pytest.approx(0.5, rel=0.02)


def test_processor_time_is_that_of_the_whole_run_however_seldom_it_was_looked() -> None:
    clock = Clock()
    made = Recording("letters:8", 1, clock=clock)
    made.look(1000, lambda: 0.0, lambda: None)
    clock.now = 0.05  # still in the first span, in which it is asked once
    made.look(1000, lambda: 0.04, lambda: None)
    made.ended(failed=False, cpu_seconds=0.09)
    assert made.timeline.values["cpu_seconds"].sum() == pytest.approx(0.09)


def test_a_batch_that_failed_is_in_no_latency_and_teaches_nothing() -> None:
    made = Recording("m", 1)
    made.batch_began(64)
    made.batch_ended(batch(failed=True), None)
    assert made.latencies.counts() == {}
    assert made.budgets == {}
    assert made.timeline.values["batches"].sum() == 1


def test_a_recording_comes_back_from_json_as_it_was() -> None:
    made = some_run()
    same(made, Recording.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))))


def test_an_empty_recording_comes_back_from_json() -> None:
    made = Recording("m", 1)
    made.ended(failed=False)
    same(made, Recording.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))))


def without(name: str) -> dict[str, object]:
    values = some_run().to_dict()
    del values[name]
    return values


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="nothing"),
        pytest.param(without("timeline"), id="without a timeline"),
        pytest.param(some_run().to_dict() | {"budgets": {"64": [1, 2, 3, 4]}}, id="another form"),
        pytest.param(some_run().to_dict() | {"latencies": {"99999": 1}}, id="a step beyond"),
        pytest.param(some_run().to_dict() | {"calls": 3}, id="no list"),
        pytest.param(some_run().to_dict() | {"started": "yesterday"}, id="no time"),
    ],
)
def test_what_is_no_recording_is_one_kind_of_error(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"recording|isoformat"):
        Recording.from_dict(values)


def test_a_run_that_was_gone_on_with_is_told_as_one() -> None:
    first, second = some_run(), some_run(2)
    both = first.followed_by(second)
    assert both.outcomes == {"embedded": 10, "cached": 0, "duplicate": 0, "failed": 5}
    assert both.budgets == {64: (3, 60, 1.5, 6, 72), 128: (2, 40, 1.0, 4, 48)}
    assert [(at, what) for at, _, what in both.calls] == [(0.0, "began"), (first.timeline.seconds, "went on")]
    assert both.started == first.started
    assert both.seconds == pytest.approx(first.timeline.seconds + second.seconds)
    assert both.failures["INVALID_TEXT"][0] == 5
    assert both.failures["INVALID_TEXT"][1] == [*first.failures["INVALID_TEXT"][1], *second.failures["INVALID_TEXT"][1]]
    assert [at for at, *_ in both.tries][3] == pytest.approx(first.timeline.seconds + 1.0)
    assert both.latencies.counts() == (first.latencies + second.latencies).counts()
    same(both, Recording.from_dict(both.to_dict()))


def test_a_million_errors_are_counted_and_a_few_are_kept() -> None:
    made = Recording("m", 1)
    for i in range(1_000_000):
        made.failed(i, "EMBEDDING_GENERATION_FAILED" if i % 4 else "INVALID_TEXT", f"no text, says {i}")
    found = made.failures
    assert {code: count for code, (count, _) in found.items()} == {
        "INVALID_TEXT": 250_000,
        "EMBEDDING_GENERATION_FAILED": 750_000,
    }
    assert [one.number for one in found["INVALID_TEXT"][1]] == [0, 4, 8, 12, 16]
    assert len(json.dumps(made.to_dict())) < 20_000


def test_errors_of_endlessly_many_codes_are_counted_together() -> None:
    made, heard = Recording("m", 1), set[str | None]()
    with listening(lambda what: heard.add(getattr(what.event, "code", None))):
        for i in range(1000):
            made.failed(i, f"CODE_{i}", "no")
    assert len(heard) == CODES + 1
    assert len(made.failures) == CODES + 1
    assert made.failures[OTHERS][0] == 1000 - CODES
    again = Recording("m", 1)
    for i in range(1000):
        again.failed(i, f"OTHER_CODE_{i}", "no")
    both = made.followed_by(again)
    assert len(both.failures) == CODES + 1
    assert sum(count for count, _ in both.failures.values()) == 2000
    assert all(len(examples) <= EXAMPLES for _, examples in both.failures.values())


def test_a_very_long_run_takes_no_more_room() -> None:
    clock = Clock()
    made = some_run(20_000, clock)
    sizes = [len(json.dumps(made.to_dict()))]
    for _ in range(2 * CALLS):
        made = made.followed_by(some_run(10))
    sizes.append(len(json.dumps(made.to_dict())))
    assert len(made.tries) <= TRIES
    assert len(made.calls) <= CALLS
    assert made.outcomes["embedded"] == 40_000 + 2 * CALLS * 20
    assert max(sizes) < 80_000


def numbered(first: int, batches: int) -> Recording:
    """A run whose batches have budgets by which they are known."""
    clock = Clock()
    made = Recording("letters:8", 1, clock=clock, tells=False)
    add_numbered(made, clock, first, batches)
    made.ended(failed=False)
    return made


def add_numbered(made: Recording, clock: Clock, first: int, batches: int) -> None:
    for number in range(first, first + batches):
        made.batch_began(number)
        clock.now += 1.0
        made.batch_ended(batch(budget=number), None)


def evenly_many(made: Recording, batches: int) -> None:
    numbers = [each.budget for each in made.tries]
    assert TRIES / 4 <= len(numbers) <= TRIES
    assert numbers[0] == 1
    apart = np.diff([*numbers, batches + 1])
    assert apart.max() <= 2 * np.median(apart)
    assert np.quantile(apart, 0.05) >= np.median(apart) / 2  # a few are nearer, where a part begins


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([49] * 64, id="many"),
        pytest.param([1] * 700, id="of a batch each"),
        pytest.param([2500, 1500, 700], id="long ones"),
        pytest.param([2500, *[7] * 100], id="a long one first"),
        pytest.param([*[7] * 100, 2500], id="a long one last"),
    ],
)
def test_of_the_parts_of_a_run_evenly_many_batches_are_kept(parts: list[int]) -> None:
    whole, gone_on_with, first = Recording("letters:8", 1, tells=False), numbered(1, parts[0]), 1
    for number, batches in enumerate(parts):
        part = numbered(first, batches)
        whole.take_in(Recording.from_dict(json.loads(json.dumps(part.to_dict()))))
        gone_on_with = gone_on_with.followed_by(part) if number else gone_on_with
        first += batches
    evenly_many(whole, sum(parts))
    evenly_many(gone_on_with, sum(parts))


def test_of_a_part_that_is_taken_in_as_it_grows_evenly_many_batches_are_kept() -> None:
    whole, before, clock = Recording("letters:8", 1, tells=False), None, Clock()
    part = Recording("letters:8", 1, clock=clock, tells=False)
    for first in range(1, 1200, 20):
        add_numbered(part, clock, first, 20)
        now = part.copy()
        whole.take_in(now.since(before))
        before = now
    evenly_many(whole, 1200)


def test_many_threads_may_write_while_others_read() -> None:
    made, done = Recording("m", 8), threading.Event()

    def write(number: int) -> None:
        for i in range(500):
            made.prepared(2)
            made.batch_began(64)
            made.batch_ended(batch(budget=64 + number), np.array([5, 9]))
            made.settled("embedded", 2)
            made.failed(i, f"CODE_{number}", "no")
            made.look(i, lambda: 0.0, lambda: number)

    def read() -> None:
        while not done.is_set():
            Recording.from_dict(made.to_dict())
            _ = made.failures, made.budgets, made.tries, made.stages

    with ThreadPoolExecutor(9) as pool:
        reading = pool.submit(read)
        for future in [pool.submit(write, number) for number in range(8)]:
            future.result()
        done.set()
        reading.result()
    assert made.outcomes["embedded"] == 8000
    assert made.outcomes["failed"] == 4000
    assert sum(count for count, *_ in made.budgets.values()) == 4000
    assert made.stages.at_work == 0
    assert made.timeline.values["tokens"].sum() == 80_000


def test_what_was_read_of_a_run_stays_as_it_was_while_it_goes_on() -> None:
    clock = Clock()
    made = Recording("letters:8", 1, clock=clock)
    made.batch_ended(batch(), np.array([7, 13]))
    timeline, lengths = made.timeline, made.lengths
    clock.now = 100.0  # its spans become wider, and more
    made.batch_ended(batch(), np.array([7, 13]))
    assert (timeline.seconds, timeline.values["batches"].tolist()) == (timeline.width, [1.0])
    assert made.timeline.values["batches"].sum() == 2
    assert sum(found[0] for found in lengths.values()) == 2
    assert sum(found[0] for found in made.lengths.values()) == 4


def test_who_listens_is_told_by_model_and_code() -> None:
    heard: list[Happened] = []
    with listening(heard.append):
        made = Recording("letters:8", 1)
        made.settled("cached", 4)
        made.settled("embedded", 0)
        made.failed(0, "INVALID_TEXT", "no")
    made.settled("cached", 1)
    assert heard == [
        Happened(TextsSettled("cached", 4), "letters:8"),
        Happened(TextsSettled("failed", 1, "INVALID_TEXT"), "letters:8"),
    ]


def test_quantiles_are_within_a_step_whatever_the_length() -> None:
    seconds = np.random.default_rng(0).lognormal(-3, 2, 5000)
    found = Latencies(*seconds)
    for share in (0.5, 0.95, 0.99):
        assert found.quantile(share) == pytest.approx(np.quantile(seconds, share, method="inverted_cdf"), rel=0.021)
    assert sum(found.counts().values()) == 5000
    assert Latencies().quantile(0.5) is None
    assert Latencies.from_dict(json.loads(json.dumps(found.to_dict()))).counts() == found.counts()


def test_tokens_and_what_was_cut_off_are_those_of_all_calls() -> None:
    first, second = Recording("m", 1), Recording("m", 1)
    for recording, tokens in ((first, 40), (second, 2)):
        recording.batch_began(512)
        recording.batch_ended(BatchEnded(4, tokens, 50, 0.1, 0.0, 0, 512, failed=False), None)
        recording.cut_off(1, tokens, known=True)
        recording.ended(failed=False)
    both = Recording.from_dict(first.followed_by(second).to_dict())
    assert (both.tokens, both.truncated) == (42, (2, 42))
    second.batch_began(512)
    second.batch_ended(BatchEnded(4, None, None, 0.1, 0.0, 0, 512, failed=False), None)
    second.cut_off(0, 0, known=False)
    untold = Recording.from_dict(first.followed_by(second).to_dict())
    assert (untold.tokens, untold.truncated) == (None, None)


def test_failures_that_are_tried_again_are_not_counted_twice() -> None:
    recording = Recording("m", 1)
    recording.failed(3, "TIMEOUT", "late")
    recording.settled("embedded", 9)
    recording.ended(failed=False)
    again = recording.agreeing(9, Failures())
    assert (again.outcomes["failed"], again.failures, again.outcomes["embedded"]) == (0, {}, 9)
    assert (again.complete, again.unrecorded) == (True, 0)
    assert recording.outcomes["failed"] == 1


def test_of_a_run_that_was_killed_time_and_tokens_are_at_least_those_that_were_kept() -> None:
    killed = Recording("m", 1)
    killed.batch_began(512)
    killed.batch_ended(BatchEnded(4, 40, 50, 0.1, 0.0, 0, 512, failed=False), None)
    killed.cut_off(1, 7, known=True)
    killed.settled("embedded", 4)
    assert (killed.complete, killed.tokens) == (True, 40)  # of one that goes on it is known until now
    kept = Recording.from_dict(json.loads(json.dumps(killed.to_dict())))
    assert (kept.complete, kept.tokens, kept.tokens_at_least, kept.truncated) == (False, None, 40, None)
    rest = Recording("m", 1)
    rest.settled("embedded", 2)
    rest.ended(failed=False)
    both = kept.agreeing(10, Failures()).followed_by(rest)
    again = Recording.from_dict(json.loads(json.dumps(both.to_dict())))
    for one in (both, again):
        assert (one.complete, one.unrecorded, one.outcomes["embedded"], one.tokens) == (False, 6, 6, None)


def test_texts_that_were_there_before_are_read_and_settled_at_once() -> None:
    made, heard = Recording("letters:8", 1), list[Happened]()
    with listening(heard.append):
        made.repeated(3)
        made.repeated(0)
    assert heard == [Happened(TextsSettled("duplicate", 3), "letters:8")]
    assert (made.stages.read, made.stages.prepared, made.stages.settled) == (3, 3, 3)
    assert made.timeline.values["duplicate"].sum() == 3


def test_a_part_that_is_taken_in_as_it_grows_is_counted_once() -> None:
    clock = Clock()
    parts, heard = [some_run(3, clock)], list[Happened]()
    for _ in range(3):
        parts.append(parts[-1].followed_by(some_run(40, clock)))
    with listening(heard.append):
        whole, at_once = Recording("letters:8", 4), Recording("letters:8", 4, tells=False)
        before = None
        for part in parts:
            now = Recording.from_dict(json.loads(json.dumps(part.to_dict())))
            whole.take_in(now.since(before))
            before = now
        at_once.take_in(now)
    assert (whole.outcomes, whole.failures, whole.budgets) == (at_once.outcomes, at_once.failures, at_once.budgets)
    assert whole.latencies.counts() == at_once.latencies.counts()
    assert whole.tokens == at_once.tokens
    for name in ("embedded", "tokens", "batches", "retries", "waited", "cpu_seconds"):
        sums = [recording.timeline.values[name].sum() for recording in (whole, at_once)]
        assert sums[0] == pytest.approx(sums[1], abs=1e-2), name
    assert {k: v.tolist() for k, v in whole.lengths.items()} == {k: v.tolist() for k, v in at_once.lengths.items()}
    told = [one.event for one in heard]
    batches = [event for event in told if isinstance(event, BatchesEnded)]
    assert len(batches) == len(parts)
    assert sum(sum(event.seconds.values()) for event in batches) == 123
    assert sum(texts for event in batches for _, texts in event.sizes.values()) == 246
    assert sum(event.texts for event in told if isinstance(event, TextsSettled)) == 369
    assert sum(event.retries for event in told if isinstance(event, TriedAgain)) == 123


def test_nothing_that_came_is_no_sign_of_life() -> None:
    clock = Clock()
    whole = Recording("letters:8", 4, clock=clock)
    whole.read(9)
    clock.now = 5.0
    part = Recording.from_dict(some_run(3).to_dict())
    whole.take_in(part)
    assert whole.idle == 0  # all nine are settled
    whole.read(1)
    clock.now = 25.0
    whole.take_in(part.since(part))
    assert whole.idle == 20
