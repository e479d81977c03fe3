"""How much memory there is, where a container may have less than the machine: by files such as Linux has of it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from vjaccel.observe import memory
from vjaccel.observe.memory import memory_available, memory_limit

MACHINE = psutil.virtual_memory().total


@pytest.fixture(params=[0, 1], ids=["version 2", "version 1"])
def container(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The files that say what the container may have, has, and can give back."""
    _, limit, used, reclaimed = memory.CONTAINERS[request.param]
    monkeypatch.setattr(memory, "CONTAINERS", ((str(tmp_path), limit, used, reclaimed),))
    (tmp_path / "memory.stat").write_text(f"anon 700000\n{reclaimed} 200000\n")
    return {"limit": tmp_path / limit, "used": tmp_path / used}


def test_a_container_has_what_it_may_have_and_not_the_machine(container: dict[str, Path]) -> None:
    container["limit"].write_text("1000000\n")
    container["used"].write_text("900000\n")
    assert memory_limit() == 1_000_000
    assert memory_available() == 300_000  # what was read of files is given back


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096)])
def test_one_without_a_limit_has_the_machines(container: dict[str, Path], limit: str) -> None:
    container["limit"].write_text(f"{limit}\n")
    container["used"].write_text("900000\n")
    assert memory_limit() == MACHINE
    assert 1_000_000 < memory_available() <= MACHINE


def test_where_there_is_none_it_is_the_machines(container: dict[str, Path]) -> None:
    assert not container["limit"].exists()
    assert memory_limit() == MACHINE
    assert 1_000_000 < memory_available() <= MACHINE
