"""A program of Debian that CI requires and that is absent is a failure, elsewhere a skip with its reason."""

from __future__ import annotations

import pytest

from tests.debian import REQUIRED, program


def test_a_program_that_is_there_is_found() -> None:
    assert program("sh").endswith("/sh")


def test_an_absent_program_skips_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRED, "chromium")
    with pytest.raises(pytest.skip.Exception, match="no-such-server is not installed: apt-get install no-such-package"):
        program("no-such-server", package="no-such-package")


def test_an_absent_program_that_is_required_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRED, "chromium,no-such-package")
    with pytest.raises(pytest.fail.Exception, match="VJACCEL_REQUIRE_DEBIAN asks for it"):
        program("no-such-server", package="no-such-package")
