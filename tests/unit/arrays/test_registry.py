"""Which backends there are, and which one a spec names."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.arrays.loopback import Loopback, Other
from vjaccel.arrays import registry

pytestmark = pytest.mark.usefixtures("calls")


# Specs


@pytest.mark.parametrize(
    ("spec", "device"),
    [
        ("loopback", "gpu:0"),
        ("loopback:cpu", "cpu"),
        ("loopback:cpu:0", "cpu"),
        ("loopback:gpu", "gpu:0"),
        ("loopback:gpu:1", "gpu:1"),
        ("loopback:cuda", "gpu:0"),
        ("loopback:cuda:1", "gpu:1"),
        ("loopback:rocm:01", "gpu:1"),
        (" Loopback:GPU:1 ", "gpu:1"),
    ],
)
def test_a_spec_names_a_backend_and_its_device_in_any_spelling(spec: str, device: str) -> None:
    backend = vj.get_backend(spec)
    assert (backend.name, backend.device) == ("loopback", device)
    assert backend is vj.get_backend(f"loopback:{device}")


@pytest.mark.parametrize(("spec", "device"), [("gpu", "gpu:0"), ("gpu:1", "gpu:1"), ("GPU", "gpu:0")])
def test_gpu_alone_is_any_backend_that_has_one(spec: str, device: str) -> None:
    assert vj.get_backend(spec).device == device


def test_auto_is_the_hosts_backend() -> None:
    assert vj.get_backend("auto") is vj.get_backend("numpy")


def test_the_first_use_of_a_backend_is_one_debug_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "vjaccel.arrays"):
        vj.get_backend("loopback:cpu")
        vj.get_backend("loopback:cpu")
    assert [record.message for record in caplog.records] == ["backend loopback:cpu is ready"]


# Errors


def test_an_unknown_name_lists_those_there_are_and_the_near_one() -> None:
    with pytest.raises(
        vj.UnknownBackend, match=r"'lopback'; did you mean 'loopback'\?; registered: cupy, jax, loopback"
    ):
        vj.get_backend("lopback:cpu")


def test_a_name_like_no_other_is_unknown_without_a_guess() -> None:
    with pytest.raises(ValueError, match="registered as 'xyz'; registered:"):
        vj.get_backend("xyz")


def test_a_device_that_is_not_there_says_which_are() -> None:
    with pytest.raises(vj.BackendUnavailable, match="no device 'gpu:7' here; it sees: gpu:0, gpu:1, cpu") as caught:
        vj.get_backend("loopback:gpu:7")
    assert caught.value.reason == "no device 'gpu:7'; seen: gpu:0, gpu:1, cpu"


@pytest.mark.parametrize("spec", ["loopback:tpu", "loopback:gpu:", "loopback:gpu:x", "loopback:gpu:1:2"])
def test_a_device_that_is_none_is_an_error_that_lists_the_spellings(spec: str) -> None:
    with pytest.raises(vj.InvalidInput, match="is none of 'cpu', 'gpu', 'gpu:N', 'gpu:N,M', 'mps'"):
        vj.get_backend(spec)


@pytest.mark.parametrize("spec", [3, b"numpy", None])
def test_what_is_no_string_is_no_spec(spec: Any) -> None:
    with pytest.raises(vj.InvalidType, match="a string such as"), vj.use_backend(spec):
        pass


def test_a_library_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loopback, "requires", ("no-such-thing", "nor-this"))
    with pytest.raises(
        ImportError, match=r"not installed \(no-such-thing or nor-this\); pip install loopback"
    ) as caught:
        vj.get_backend("loopback:cpu")
    assert isinstance(caught.value, vj.BackendUnavailable)
    assert caught.value.install == "pip install loopback"


def test_a_driver_that_fails_is_the_reason_and_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> tuple[str, ...]:
        raise OSError("libcuda.so.1: cannot open\nmore of it")

    monkeypatch.setattr(Loopback, "devices", failing)
    with pytest.raises(vj.BackendUnavailable, match=r"OSError: libcuda\.so\.1: cannot open$") as caught:
        vj.get_backend("loopback:cpu")
    assert isinstance(caught.value.__cause__, OSError)
    (row,) = [row for row in vj.backends() if row.name == "loopback"]
    assert (row.usable, row.devices, row.reason) == (False, None, "OSError: libcuda.so.1: cannot open")


def test_a_library_without_a_device_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loopback, "devices", lambda: ())
    with pytest.raises(vj.BackendUnavailable, match="no device that it could use was found"):
        vj.get_backend("loopback")


def test_a_gpus_number_is_not_the_start_of_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loopback, "devices", lambda: ("gpu:770",))
    with pytest.raises(vj.BackendUnavailable, match="no backend sees the device 'gpu:77'"):
        vj.get_backend("gpu:77")


def test_gpu_where_there_is_none_says_what_every_backend_saw() -> None:
    with pytest.raises(
        vj.BackendUnavailable, match=r"no backend sees the device 'gpu:99': .*loopback: gpu:0, gpu:1, cpu"
    ):
        vj.get_backend("gpu:99")


@pytest.mark.parametrize(
    ("spec", "missing"), [("loopback:gpu:0,7", "gpu:7"), ("loopback:gpu:8,9", "gpu:8"), ("torch:gpu:98,99", "gpu:98")]
)
def test_several_devices_of_which_one_is_not_there_fail_at_once_with_those_that_are(spec: str, missing: str) -> None:
    with pytest.raises(vj.BackendUnavailable, match=rf"has no device '{missing}' here; it sees: .*cpu"):
        vj.Corpus(np.eye(3), backend=spec)


def test_all_gpus_where_there_is_none_fail_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loopback, "devices", lambda: ("cpu",))
    with pytest.raises(vj.BackendUnavailable, match="'loopback' has no device 'gpu:0' here; it sees: cpu"):
        vj.Corpus(np.eye(3), backend="loopback:gpu:all")


@pytest.mark.parametrize("spec", ["gpu:0,1", "gpu:all"])
def test_several_devices_want_their_library_named(spec: str) -> None:
    with pytest.raises(vj.InvalidInput, match=f"of one library: name it, as in 'torch:{spec}'"):
        vj.get_backend(spec)


def test_several_devices_of_two_kinds_are_refused() -> None:
    with pytest.raises(vj.InvalidInput, match="has several kinds"):
        vj.get_backend("loopback:gpu:0,cpu")


# Plugins


def test_a_broken_plugin_is_unavailable_and_skipped_with_a_warning(
    install: Any, caplog: pytest.LogCaptureFixture
) -> None:
    install("broken-backend", broken="no_such_module:Backend")
    assert registry.owner_of(Loopback("cpu").asarray(vj.normalize([[1.0, 0.0]]))) is Loopback
    assert "the backend 'broken' is skipped: its module fails to import: ModuleNotFoundError" in caplog.text
    with pytest.raises(vj.BackendUnavailable, match="its module fails to import") as caught:
        vj.get_backend("broken")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    (row,) = [row for row in vj.backends() if row.name == "broken"]
    assert (row.usable, row.version) == (False, None)


def test_two_packages_for_one_name_are_an_error_of_that_name_that_names_both(install: Any) -> None:
    install("first-backend", twice="tests.unit.arrays.loopback:Loopback")
    install("second-backend", twice="tests.unit.arrays.loopback:Other")
    with pytest.raises(
        vj.BackendUnavailable, match=r"several .*second-backend \(.*Other\) and first-backend \(.*back\)"
    ):
        vj.get_backend("twice")
    assert vj.get_backend("numpy").name == "numpy"
    (row,) = [row for row in vj.backends() if row.name == "twice"]
    assert "first-backend" in str(row.reason)


def test_one_package_seen_twice_is_one(install: Any) -> None:
    install("first-copy", copied="tests.unit.arrays.loopback:Other")
    install("second-copy", copied="tests.unit.arrays.loopback:Other")
    assert isinstance(vj.get_backend("copied"), Other)


def test_a_backend_that_is_gone_is_unknown_again(install: Any) -> None:
    install("late-backend", late="tests.unit.arrays.loopback:Loopback")
    vj.get_backend("late")
    registry._entry_points().pop("late")
    with pytest.raises(vj.UnknownBackend):
        registry.backend_class("late")


# Rows


def test_every_backend_is_a_row_with_what_is_known_of_it() -> None:
    rows = {row.name: row for row in vj.backends()}
    assert list(rows) == sorted(rows)
    assert {"cupy", "jax", "loopback", "numpy", "torch"} <= set(rows)
    row = rows["loopback"]
    assert (row.devices, row.usable, row.reason, row.install) == (("gpu:0", "gpu:1", "cpu"), True, None, None)
    assert row.version is not None


def test_without_probing_nobody_is_asked_for_devices() -> None:
    (row,) = [row for row in vj.backends(probe=False) if row.name == "loopback"]
    assert (row.devices, row.usable) == (None, None)
    assert row.version is not None


def test_without_probing_no_library_is_imported() -> None:
    code = """
import sys, vjaccel as vj
assert len(vj.backends(probe=False)) >= 4
print([name for name in ("torch", "jax", "cupy", "numba") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
