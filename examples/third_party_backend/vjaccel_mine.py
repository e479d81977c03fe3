"""A backend for vjaccel over array-api-strict, which stands for any library that follows the array API standard."""

from typing import ClassVar

from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array, Capabilities


class MineBackend(GenericBackend):
    """Every operation is inherited; what the library does better would be overridden here."""

    name: ClassVar[str] = "mine"
    array_modules: ClassVar[tuple[str, ...]] = ("array_api_strict",)
    requires: ClassVar[tuple[str, ...]] = ("array-api-strict",)
    install: ClassVar[str] = "pip install array-api-strict"

    def __init__(self, device: str) -> None:
        import array_api_strict  # here, so that listing the backends does not import it

        super().__init__(device, array_api_strict)

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("cpu",)

    @classmethod
    def device_of(cls, x: Array) -> str:
        return "cpu"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(float16=False)
