"""What is derived from a run, on numbers that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up import cpu_run, gpu_run

from vjaccel.benchmark.figures import apart, costs, counted, pays, roofs, speedups, timing
from vjaccel.benchmark.results import Case, Machine, Measurement, Run, Subject
from vjaccel.benchmark.words import shape
from vjaccel.pages.words import percent, rate, ratio, scaled, seconds, short, ticks

SMALL, LARGE = (
    Case(f"topk-{rows}", "topk", "cosine", "float32", {"rows": rows, "k": 10}, 2.0 * rows, 4.0 * rows)
    for rows in (10, 1000)
)


def subject(name: str, device: str = "cpu", **values: Any) -> Subject:
    unknown = Subject(name, "backend", device, None, "ok", None, None, None, None, None)
    return replace(unknown, **values)


def measured(name: str, case: Case, *rounds: float, **values: Any) -> Measurement:
    return replace(Measurement(name, case.id, "host", None, rounds, 0.0, None), **values)


def a_run(*measurements: Measurement, subjects: tuple[Subject, ...] = (), clock_spread: float = 0.0) -> Run:
    machine = Machine("made up", 2, None, 1, "none", "3.12", (1.0,), clock_spread)
    known = subjects or (subject("numpy:cpu"), subject("torch:gpu", "gpu:0"))
    return Run("0.1.0", "now", 1.0, None, "vjaccel bench", machine, {}, known, (SMALL, LARGE), measurements, (), ())


def test_a_figure_is_its_median_and_its_range() -> None:
    found = timing([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found.median, found.rounds) == (3.0, 5)
    assert (found.low, found.high) == (1.0, 5.0)
    assert found.spread == pytest.approx(4.0 / 3)


def test_of_many_rounds_the_fastest_and_slowest_tenth_are_no_noise() -> None:
    found = timing([0.1, *[float(x) for x in range(10, 19)], 900.0])
    assert (found.median, found.low, found.high) == (14.0, 10.0, 18.0)


def test_the_spread_of_a_single_round_is_unknown() -> None:
    assert timing([1.0]).spread is None


@pytest.mark.parametrize(
    ("a", "b", "clock", "beyond"),
    [
        ([1.0, 1.1], [2.0, 2.1], 0.0, True),
        ([2.0, 2.1], [1.0, 1.1], 0.0, True),
        ([1.0, 1.5], [1.4, 2.0], 0.0, False),  # the rounds meet
        ([1.0, 1.01], [1.1, 1.11], 0.0, True),
        ([1.0, 1.01], [1.1, 1.11], 0.2, False),  # the clock alone may have done it
        ([1.0], [9.0], 0.0, False),  # one round has no range
    ],
)
def test_figures_differ_where_their_ranges_do_not_meet(
    a: list[float], b: list[float], clock: float, beyond: bool
) -> None:
    assert apart(timing(a), timing(b), clock, clock) is beyond


def test_a_speedup_is_the_geometric_mean_over_the_cases_that_both_have() -> None:
    run = a_run(
        measured("numpy:cpu", SMALL, 1.0),
        measured("numpy:cpu", LARGE, 8.0),
        measured("torch:gpu", SMALL, 2.0),
        measured("torch:gpu", LARGE, 1.0),
    )
    found = {one.series.label: one for one in speedups(run)}
    assert [x for _, x in found["torch:gpu, from host"].ratios] == [0.5, 8.0]
    assert found["torch:gpu, from host"].mean == pytest.approx(2.0)
    assert found["numpy:cpu"].mean == pytest.approx(1.0)


def test_a_speedup_counts_the_cases_that_differ_by_more_than_the_noise() -> None:
    run = a_run(
        measured("numpy:cpu", SMALL, 1.0, 1.1),
        measured("numpy:cpu", LARGE, 1.0, 1.1),
        measured("torch:gpu", SMALL, 0.5, 0.6),
        measured("torch:gpu", LARGE, 0.9, 1.05),
    )
    found = {one.series.subject: one for one in speedups(run)}
    assert (found["torch:gpu"].faster, found["torch:gpu"].slower) == (1, 0)


def test_a_refused_figure_is_in_no_speedup() -> None:
    run = a_run(
        measured("numpy:cpu", SMALL, 1.0),
        measured("numpy:cpu", LARGE, 1.0),
        measured("torch:gpu", SMALL, 0.5),
        measured("torch:gpu", LARGE, 1e-9, refused="work was skipped"),
    )
    found = {one.series.label: one for one in speedups(run)}
    assert found["torch:gpu, from host"].ratios == ((SMALL, 2.0),)


def test_nothing_is_compared_with_a_refused_figure_of_numpy() -> None:
    assert speedups(a_run(measured("numpy:cpu", SMALL, 1.0, refused="wrong"), measured("torch:gpu", SMALL, 0.5))) == []


def test_of_a_subject_that_was_once_wrong_the_other_figures_count() -> None:
    subjects = (subject("numpy:cpu"), subject("torch:gpu", "gpu:0", state="refused", reason="at topk-10: wrong"))
    run = a_run(
        measured("torch:gpu", SMALL, 0.1, refused="wrong"), measured("torch:gpu", LARGE, 0.2), subjects=subjects
    )
    assert [c.case for c in counted(run)] == [LARGE]


def test_what_a_subject_measured_before_it_crashed_counts() -> None:
    subjects = (subject("numpy:cpu"), subject("torch:gpu", "gpu:0", state="crashed", reason="signal 11"))
    run = a_run(measured("torch:gpu", SMALL, 0.1), measured("torch:gpu", LARGE), subjects=subjects)
    assert [c.case for c in counted(run)] == [SMALL]


@pytest.mark.parametrize(
    ("small", "large", "start", "everywhere"),
    [
        ((0.1, 0.1), (0.1, 0.1), SMALL, True),
        ((5.0, 5.0), (0.1, 0.1), LARGE, False),
        ((0.1, 0.1), (50.0, 50.0), None, False),  # faster at the small size alone: no size from which on it is
        ((5.0, 5.0), (7.0, 8.1), None, False),  # within the noise
    ],
)
def test_a_gpu_pays_from_the_size_from_which_on_it_is_always_faster(
    small: tuple[float, ...], large: tuple[float, ...], start: Case | None, everywhere: bool
) -> None:
    run = a_run(
        measured("numpy:cpu", SMALL, 1.0, 1.0),
        measured("numpy:cpu", LARGE, 8.0, 8.0),
        measured("torch:gpu", SMALL, *small),
        measured("torch:gpu", LARGE, *large),
    )
    (found,) = pays(run)
    assert (found.start, found.everywhere) == (start, everywhere)


def test_a_gpu_is_held_against_the_fastest_on_the_cpu_not_against_numpy() -> None:
    subjects = (subject("numpy:cpu"), subject("faiss", kind="peer"), subject("torch:gpu", "gpu:0"))
    run = a_run(
        measured("numpy:cpu", SMALL, 4.0, 4.0),
        measured("faiss", SMALL, 1.0, 1.0),
        measured("torch:gpu", SMALL, 2.0, 2.0),
        subjects=subjects,
    )
    (found,) = pays(run)
    assert (found.start, found.most) == (None, 0.5)


def test_where_there_is_no_gpu_none_pays() -> None:
    assert pays(cpu_run()) == []


def test_a_device_has_the_roof_of_the_best_of_its_subjects() -> None:
    subjects = (
        subject("numpy:cpu", copy_bytes_per_s=2.0, matmul_flops_per_s=50.0),
        subject("jax:cpu", copy_bytes_per_s=3.0, matmul_flops_per_s=40.0),
        subject("torch:gpu", "gpu:0", copy_bytes_per_s=9.0),
    )
    (roof,) = roofs(a_run(subjects=subjects))
    assert (roof.device, roof.copy, roof.copy_by, roof.matmul, roof.matmul_by) == (
        "cpu",
        3.0,
        "jax:cpu",
        50.0,
        "numpy:cpu",
    )
    assert (roof.at(2.0), roof.at(1000.0)) == (6.0, 50.0)


def test_compilation_is_the_first_call_less_a_warm_one_and_transfer_host_less_device() -> None:
    run = a_run(
        measured("torch:gpu", SMALL, 1.0, origin="device", first_s=4.0),
        measured("torch:gpu", SMALL, 3.0, origin="host", first_s=3.5),
    )
    found = {cost.subject.name: cost for cost in costs(run)}
    assert (found["torch:gpu"].compile, found["torch:gpu"].transfer) == ((3.0,), (2.0,))
    assert (found["numpy:cpu"].compile, found["numpy:cpu"].transfer) == ((), ())


def test_every_gpu_series_of_a_run_is_held_against_the_cpu() -> None:
    assert {p.series.origin for p in pays(gpu_run())} == {"device", "host"}


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (seconds(0.00123), "1.23 ms"),
        (seconds(0.9999), "1 s"),
        (seconds(4e-10), "0.4 ns"),
        (seconds(123.4), "123 s"),
        (seconds(None), "–"),  # noqa: RUF001  # the dash that it shows
        (rate(1.234e11, "FLOP/s"), "123 GFLOP/s"),
        (scaled(999_900), "1M"),
        (scaled(200_000), "200k"),
        (ratio(1.8449), "×1.84"),  # noqa: RUF001  # the sign that it shows
        (percent(0.0321), "3.2 %"),
        (percent(1.5), "150 %"),
        (shape({"queries": 100, "rows": 200_000, "dim": 384, "k": 10}), "100 × 200k × 384, k 10"),  # noqa: RUF001  # as above
        (short("a" * 40, 9), "aaaa…aaaa"),
    ],
)
def test_a_number_is_written_with_three_digits_and_its_unit(shown: str, text: str) -> None:
    assert shown == text


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.1), (1.0, 3.0), (0.3, 40.0), (1e-6, 1e9), (4.0, 4.1)])
def test_an_axis_has_two_to_six_ticks_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert low <= found[0] < found[-1] <= high
