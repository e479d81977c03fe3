"""What `vjaccel serve` refuses of a cluster's options before it looks for one."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--replicas", "2"], "--replicas is for --engine ray"),
        (["--address", "auto"], "--address is for --engine ray"),
        (["--resources", "gpu=1"], "--resources is for --engine ray"),
        (["--engine", "ray", "--replicas", "3:2"], "--replicas 3:2: MIN is at least 1, and MAX no less than MIN"),
        (["--engine", "ray", "--replicas", "two"], "--replicas 'two' is neither MIN:MAX nor a number"),
        (["--engine", "ray", "--replicas", "2:"], "--replicas 2: has no MAX: say how many there may be"),
        (
            ["--engine", "ray", "--replicas", "1:8", "--model", "openai:m", "--requests-per-minute", "5"],
            "requests_per_minute 5 leaves nothing for each of 8 workers",
        ),
        (
            ["--engine", "ray", "--address", "nowhere"],
            "--address 'nowhere' is none of auto, HOST:PORT, ray://HOST:PORT",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_asked_of_a_service(run: Run, arguments: list[str], said: str) -> None:
    done = run("serve", "--port", "0", *arguments)
    assert (done.code, done.err) == (2, f"vjaccel: {said}\n")
