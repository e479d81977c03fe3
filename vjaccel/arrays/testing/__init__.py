"""The conformance suite: what proves that a backend keeps the contract's promises.

Subclass `BackendConformance` in a test module, name the backend, and run pytest. The answers are those of `oracle`.
"""

try:
    import pytest
except ImportError as exc:
    from vjaccel.errors import MissingExtra

    class MissingPytest(MissingExtra):
        """pytest is not installed: no extra of this package, since only a backend's author needs it."""

        def __init__(self) -> None:
            self.install = "pip install pytest"
            ImportError.__init__(self, f"vjaccel.arrays.testing needs pytest: {self.install}")

    raise MissingPytest from exc

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{part}"
        for part in (
            "subject",
            "changes",
            "closest",
            "coarse",
            "contract",
            "pairs",
            "quantize",
            "ranges",
            "search",
            "sketch",
            "streams",
        )
    )
)

from vjaccel.arrays.testing.conformance import BackendConformance  # noqa: E402  # after the rewriting of its assertions

__all__ = ["BackendConformance"]
