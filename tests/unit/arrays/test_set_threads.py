"""The number of threads that a user asks for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

import vjaccel as vj
from vjaccel.arrays.threads import thread_count, thread_limit


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    vj.set_threads(None)


def _in_a_process(code: str, value: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VJACCEL_THREADS": value}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_what_was_set_holds_until_none_is_set() -> None:
    usual = thread_count()
    vj.set_threads(usual + 3)
    assert thread_count() == usual + 3
    vj.set_threads(None)
    assert thread_count() == usual


@pytest.mark.parametrize("n", [0, -1, True])
def test_less_than_one_thread_is_refused_and_changes_nothing(n: int) -> None:
    vj.set_threads(3)
    with pytest.raises(vj.InvalidInput, match=f"n must be at least 1, not {n}"):
        vj.set_threads(n)
    assert thread_limit() == 3


@pytest.mark.parametrize("n", ["2", 2.0, [2]])
def test_what_is_no_whole_number_is_refused(n: object) -> None:
    with pytest.raises(vj.InvalidType, match=f"n must be a whole number, not {type(n).__name__}"):
        vj.set_threads(n)  # type: ignore[arg-type]  # that is what is refused


@pytest.mark.parametrize(("value", "found"), [("3", "3"), (" 1 ", "1"), ("", "None")])
def test_the_environment_says_it_for_a_process(value: str, found: str) -> None:
    done = _in_a_process("from vjaccel.arrays.threads import thread_limit; print(thread_limit())", value)
    assert done.stdout.strip() == found, done.stderr


def test_set_threads_goes_before_the_environment() -> None:
    code = "import vjaccel as vj; vj.set_threads(2); from vjaccel.arrays.threads import thread_limit; print(thread_limit())"
    assert _in_a_process(code, "5").stdout.strip() == "2"


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5"])
def test_an_environment_that_says_no_number_is_an_error_of_the_call_that_reads_it(value: str) -> None:
    done = _in_a_process("import vjaccel as vj; vj.topk([1.0, 0.0], [[1.0, 0.0]], k=1)", value)
    assert done.returncode == 1
    assert f"InvalidInput: VJACCEL_THREADS is '{value}'; it needs a whole number of at least 1" in done.stderr
