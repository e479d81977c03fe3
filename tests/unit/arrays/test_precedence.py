"""Who decides where a call computes: the argument, the block, the arrays, then for host arrays the process' settings."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import vjaccel as vj

HOST = [[3.0, 4.0]]


@pytest.fixture
def computed_on(calls: list[tuple[str, str]]) -> Any:
    """Where `normalize` was computed."""

    def where(x: object = HOST, **arguments: Any) -> str:
        calls.clear()
        vj.normalize(x, **arguments)
        return calls[0][1] if calls else "numpy:cpu"

    return where


def test_host_arrays_are_numpys_if_nobody_says_otherwise(computed_on: Any) -> None:
    assert computed_on() == "numpy:cpu"


def test_the_environment_decides_for_host_arrays(computed_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VJACCEL_BACKEND", "loopback:gpu:1")
    assert computed_on() == "loopback:gpu:1"
    assert vj.get_backend() is vj.get_backend("loopback:gpu:1")


def test_set_backend_comes_before_the_environment(computed_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VJACCEL_BACKEND", "loopback:gpu:1")
    vj.set_backend("loopback:cpu")
    assert computed_on() == "loopback:cpu"
    vj.set_backend(None)
    assert computed_on() == "loopback:gpu:1"


def test_device_arrays_come_before_the_processes_settings(
    computed_on: Any, on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VJACCEL_BACKEND", "other")
    vj.set_backend("other:cpu")
    assert computed_on(on("loopback:gpu:1", HOST)) == "loopback:gpu:1"


def test_a_block_comes_before_device_arrays_and_set_backend(computed_on: Any, on: Any) -> None:
    vj.set_backend("other:cpu")
    with vj.use_backend("other:gpu:1") as backend:
        assert backend is vj.get_backend("other:gpu:1") is vj.get_backend()
        assert computed_on(on("loopback", HOST)) == "other:gpu:1"
        assert computed_on() == "other:gpu:1"
    assert computed_on() == "other:cpu"


def test_the_argument_comes_first(computed_on: Any, on: Any) -> None:
    with vj.use_backend("other:gpu:1"):
        assert computed_on(on("loopback", HOST), backend="loopback:cpu") == "loopback:cpu"
        assert computed_on(backend=vj.get_backend("loopback:gpu:1")) == "loopback:gpu:1"


def test_an_inner_block_holds_until_its_end_even_when_it_fails(computed_on: Any) -> None:
    with vj.use_backend("loopback:cpu"):
        with pytest.raises(vj.InvalidInput), vj.use_backend("other:cpu"):
            vj.normalize([[]])
        assert computed_on() == "loopback:cpu"
    assert computed_on() == "numpy:cpu"


@pytest.mark.parametrize("call", [vj.get_backend, vj.set_backend, lambda spec: vj.use_backend(spec).__enter__()])
def test_a_backend_that_is_not_there_changes_nothing(computed_on: Any, call: Any) -> None:
    with pytest.raises(vj.UnknownBackend):
        call("nowhere")
    assert computed_on() == "numpy:cpu"


def test_an_environment_that_names_nobody_is_an_error_of_the_call(
    computed_on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VJACCEL_BACKEND", "nowhere")
    with pytest.raises(vj.UnknownBackend, match="'nowhere'"):
        computed_on()


def test_another_thread_does_not_see_a_block(computed_on: Any) -> None:
    seen: list[str] = []
    with vj.use_backend("loopback:cpu"):
        thread = threading.Thread(target=lambda: seen.append(computed_on()))
        thread.start()
        thread.join()
    assert seen == ["numpy:cpu"]


def test_tasks_do_not_see_each_others_blocks(computed_on: Any) -> None:
    async def task(spec: str, barrier: asyncio.Barrier) -> tuple[str, str]:
        with vj.use_backend(spec):
            await barrier.wait()  # both are inside now
            inside = computed_on()
            await barrier.wait()
        return inside, computed_on()

    async def both() -> list[tuple[str, str]]:
        barrier = asyncio.Barrier(2)
        return await asyncio.gather(task("loopback:cpu", barrier), task("other:gpu:1", barrier))

    assert asyncio.run(both()) == [("loopback:cpu", "numpy:cpu"), ("other:gpu:1", "numpy:cpu")]
