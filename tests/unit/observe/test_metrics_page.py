"""A monitor counts what happens, for Prometheus; its page does not grow with what users name."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import vjaccel as vj
from tests.debian import program
from tests.unit.observe.scraping import page, until, value
from vjaccel.observe import Load, Monitor, Source
from vjaccel.observe.catalogue import CATALOGUE
from vjaccel.telemetry import CircuitChanged, ConcurrencyChanged, Recording, tell


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with Monitor(interval=0.02) as made:
        yield made


def vectors(texts: list[str]) -> list[list[float]]:
    if any("bad" in text for text in texts):
        raise ValueError("no")
    return [[1.0, float(len(text))] for text in texts]


def test_texts_are_counted_by_what_became_of_them(monitor: Monitor) -> None:
    with vj.Embedder(vectors, name="counted", cache="memory") as embedder:
        embedder.embed(["a", "b", "a", 7, "bad"], on_error="collect")
        embedder.embed(["a", "c"])
    text, model = page(monitor.url), {"model": "function:counted"}
    outcomes = {
        name: value(text, "vjaccel_texts_total", **model, outcome=name)
        for name in ("embedded", "cached", "duplicate", "failed")
    }
    assert outcomes == {"embedded": 3, "cached": 1, "duplicate": 1, "failed": 2}
    codes = {
        code: value(text, "vjaccel_text_errors_total", **model, code=code)
        for code in ("INVALID_TEXT", "EMBEDDING_GENERATION_FAILED")
    }
    assert codes == {"INVALID_TEXT": 1, "EMBEDDING_GENERATION_FAILED": 1}
    assert value(text, "vjaccel_cache_lookups_total", **model, outcome="hit") == 1
    assert value(text, "vjaccel_cache_lookups_total", **model, outcome="miss") == 4
    assert value(text, "vjaccel_runs_total", **model, outcome="done") == 2


def test_how_far_a_run_is_is_told_where_it_knows_how_long_it_is(monitor: Monitor) -> None:
    told: list[tuple[float | None, float | None]] = []

    def look(progress: vj.Progress) -> None:
        progress.recording.expects(10, 4)  # as a run over files does that was gone on with

        def rows() -> tuple[float | None, float | None]:
            names = ("vjaccel_run_rows", "vjaccel_run_rows_settled")
            all_rows, settled = (value(page(monitor.url), name, model="function:far") for name in names)
            return all_rows, settled

        until(lambda: rows() == (10, 4 + progress.done))
        told.append(rows())

    with vj.Embedder(vectors, name="far") as embedder:
        embedder.embed(["a", "b", "c"], progress=look)
    assert told[-1] == (10, 7)


def test_batches_have_their_durations_sizes_and_failures(monitor: Monitor) -> None:
    with vj.Embedder(vectors, name="batches") as embedder:
        embedder.embed(["a", "bad"], on_error="collect")
    text, model = page(monitor.url), {"model": "function:batches"}
    # Both together, and each alone.
    assert value(text, "vjaccel_batches_total", **model, outcome="failed") == 2
    assert value(text, "vjaccel_batches_total", **model, outcome="done") == 1
    assert value(text, "vjaccel_batch_duration_seconds_count", **model) == 1
    assert value(text, "vjaccel_batch_texts_sum", **model) == 1


def test_a_run_that_failed_is_counted_as_such(monitor: Monitor) -> None:
    with vj.Embedder(vectors, name="stopped") as embedder, pytest.raises(vj.TooManyErrors):
        embedder.embed(["bad", "bad 2"], max_errors=0)
    assert value(page(monitor.url), "vjaccel_runs_total", model="function:stopped", outcome="failed") == 1


def test_a_run_that_goes_on_shows_its_stages_and_none_when_it_is_over(monitor: Monitor) -> None:
    go, model = threading.Event(), {"model": "function:waiting"}

    def embed(texts: list[str]) -> list[list[float]]:
        go.wait(30)
        return vectors(texts)

    def shown(name: str, **labels: str) -> float:
        return value(page(monitor.url), f"vjaccel_{name}", **model, **labels)

    with vj.Embedder(embed, name="waiting", workers=2) as embedder:
        running = threading.Thread(target=embedder.embed, args=(["a", "b", "c"],))
        running.start()
        until(lambda: shown("batches_active") == 1)
        until(lambda: shown("stage_texts", stage="embed") == 3)
        assert shown("runs_active") == 1
        assert shown("workers") == 2
        until(lambda: shown("run_idle_seconds") > 0)
        go.set()
        running.join()
    for name in ("runs_active", "batches_active", "workers", "stage_texts", "run_idle_seconds"):
        until(lambda name=name: shown(name) == 0)


def test_operations_are_measured_by_backend_and_place(monitor: Monitor) -> None:
    vj.topk([[1.0, 0.0]], np.eye(2, dtype=np.float32), k=1)
    vj.Collection("notes", dim=2).insert(["a"], [[1.0, 0.0]])
    with pytest.raises(vj.InvalidInput):
        vj.Corpus(np.eye(2)).topk([[1.0]])
    text, name = page(monitor.url), "vjaccel_operation_duration_seconds_count"
    assert value(text, name, operation="topk", place="numpy:cpu") == 2
    assert value(text, name, operation="collection.insert", place="memory") == 1
    assert value(text, "vjaccel_operation_failures_total", operation="topk", place="numpy:cpu") == 1


def test_endpoints_have_their_circuit_and_their_limit(monitor: Monitor) -> None:
    run = Recording("openai:m", 1)
    run.began()
    tell(CircuitChanged("openai at http://a", is_open=True))
    tell(ConcurrencyChanged("openai at http://a", 3))
    text, endpoint = page(monitor.url), {"endpoint": "openai at http://a"}
    assert value(text, "vjaccel_circuit_open", **endpoint) == 1
    assert value(text, "vjaccel_circuit_openings_total", **endpoint) == 1
    assert value(text, "vjaccel_concurrency_limit", **endpoint) == 3
    tell(CircuitChanged("openai at http://a", is_open=False))
    text = page(monitor.url)
    assert value(text, "vjaccel_circuit_open", **endpoint) == 0
    assert value(text, "vjaccel_circuit_openings_total", **endpoint) == 1
    run.ended(failed=False)


def test_a_circuit_is_shown_as_open_while_a_run_asks_its_provider(monitor: Monitor) -> None:
    def shown(endpoint: str) -> float:
        return value(page(monitor.url), "vjaccel_circuit_open", endpoint=endpoint)

    for endpoint in ("openai at http://a", "voyage"):
        tell(CircuitChanged(endpoint, is_open=True))
    for _ in range(2):
        run = Recording("openai:m", 1)
        run.began()
        until(lambda: (shown("openai at http://a"), shown("voyage")) == (1, 0))
        run.ended(failed=True)
        until(lambda: shown("openai at http://a") == 0)


def test_memory_and_processors_are_looked_at(monitor: Monitor) -> None:
    text = page(monitor.url)
    assert value(text, "vjaccel_memory_bytes") > 1e6
    assert value(text, "vjaccel_memory_limit_bytes") >= value(text, "vjaccel_memory_available_bytes") > 0
    assert value(text, "vjaccel_cpu_seconds_total") > 0
    assert value(text, "vjaccel_build_info", version=vj.__version__) == 1


@pytest.mark.parametrize("held", [7000, None], ids=["on a GPU", "on a CPU"])
def test_what_a_models_gpu_held_stays_as_it_was_last_asked(monitor: Monitor, held: int | None) -> None:
    run = Recording(f"local:holds {held}", 1)
    run.began()
    run.look(1, lambda: 0.0, lambda: held)
    until(lambda: value(page(monitor.url), "vjaccel_runs_active", model=run.model) == 1)
    run.ended(failed=False)
    until(lambda: value(page(monitor.url), "vjaccel_runs_active", model=run.model) == 0)
    shown = re.findall(rf'^vjaccel_device_memory_bytes{{model="{run.model}"}} (.*)$', page(monitor.url), re.MULTILINE)
    assert [float(one) for one in shown] == ([] if held is None else [held])


def test_a_gauge_is_as_old_as_the_interval_says() -> None:
    with Monitor(interval=3600.0) as rarely:
        first = value(page(rarely.url), "vjaccel_cpu_seconds_total")
        sum(i * i for i in range(2_000_000))
        assert value(page(rarely.url), "vjaccel_cpu_seconds_total") == first


def test_the_page_does_not_grow_with_names_and_has_no_text(monitor: Monitor) -> None:
    for i in range(80):
        with vj.Embedder(vectors, name=f"many {i}") as embedder:
            embedder.embed([f"a secret {i}"])
    text = page(monitor.url)
    models = {line for line in text.splitlines() if line.startswith("vjaccel_runs_total")}
    assert len(models) == 2 * 51
    assert value(text, "vjaccel_runs_total", model="other", outcome="done") == 30
    assert "secret" not in text


def test_what_the_models_of_no_name_of_their_own_do_is_shown_until_it_is_over(monitor: Monitor) -> None:
    for i in range(50):
        Recording(f"named {i}", 1).began()
    run = Recording("one more", 1)
    run.began()
    until(lambda: value(page(monitor.url), "vjaccel_runs_active", model="other") == 1)
    run.ended(failed=False)
    until(lambda: value(page(monitor.url), "vjaccel_runs_active", model="other") == 0)


def test_the_page_has_every_metric_of_the_catalogue_and_no_other(monitor: Monitor) -> None:
    named = {line.split()[2] for line in page(monitor.url).splitlines() if line.startswith("# TYPE")}
    assert named == {measure.shown for measure in CATALOGUE}


def test_promtool_finds_nothing_to_say_of_the_page(monitor: Monitor) -> None:
    promtool = program("promtool", package="prometheus")
    with vj.Embedder(vectors, name="checked", cache="memory") as embedder:
        embedder.embed(["a", "bad"], on_error="collect")
    vj.normalize([1.0, 2.0])
    tell(CircuitChanged("openai", is_open=True))
    tell(ConcurrencyChanged("openai", 3))
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page(monitor.url), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_two_monitors_each_count_once() -> None:
    with Monitor() as one, Monitor() as other:
        with vj.Embedder(vectors, name="twice") as embedder:
            embedder.embed(["a"])
        for monitor in (one, other):
            assert value(page(monitor.url), "vjaccel_texts_total", model="function:twice", outcome="embedded") == 1


def test_a_monitor_that_is_closed_leaves_no_thread_and_no_port(monitor: Monitor) -> None:
    threads = threading.active_count()
    with Monitor() as another:
        port = int(str(another.url).rpartition(":")[2])
    another.close()
    assert threading.active_count() == threads
    with Monitor(port):
        pass


def test_nothing_is_imported_unless_it_is_asked_for() -> None:
    code = (
        "import sys, vjaccel as vj, vjaccel.observe, vjaccel.cli.app\n"
        "vj.Embedder(lambda texts: [[1.0]] * len(texts)).embed(['a']); vj.normalize([1.0])\n"
        "vj.BatchProcessor().close()\n"
        "print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(vj.MissingExtra, match=r"pip install 'vjaccel\[metrics\]'"):
        Monitor()


def test_after_a_look_that_failed_it_looks_again_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    looks: list[int] = []

    def load() -> Load:
        looks.append(len(looks))
        if 0 < len(looks) - 1 < 4:
            raise RuntimeError("it is not to be had")
        return Load(len(looks), 0)

    with Monitor(interval=0.02, source=Source(load, lambda: ())) as monitor:
        until(lambda: (value(page(monitor.url), "vjaccel_processor_requests_active") or 0) > 4)
    said = [record.message for record in caplog.records if record.name == "vjaccel.observe"]
    assert said == ["gauges are not as they are, as one cannot be looked at: RuntimeError: it is not to be had"]
