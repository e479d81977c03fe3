"""Writes the table of docs/backends.md from the code: `python docs/capabilities.py`."""

from __future__ import annotations

import inspect
from pathlib import Path

from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Backend
from vjaccel.arrays.registry import backend_class

PAGE = Path(__file__).with_name("backends.md")
START, END = "<!-- table: python docs/capabilities.py -->\n", "<!-- end of table -->\n"
NAMES = ("numpy", "torch", "jax", "cupy")
OPERATIONS = ("normalize", "scores", "paired", "prepare", "scan", "above", "rescore", "topk")
PROPERTIES = ("float64", "float16", "bfloat16", "gradients")


def table() -> str:
    """The operations and capabilities by backend, in Markdown."""
    classes = [backend_class(name) for name in NAMES]
    head = f"| | {' | '.join(NAMES)} |\n|---|{'---|' * len(NAMES)}\n"
    rows = [f"| `{name}` | {' | '.join(_whose(cls, name) for cls in classes)} |\n" for name in OPERATIONS]
    rows += [f"| {name} | {' | '.join(_has(cls, name) for cls in classes)} |\n" for name in PROPERTIES]
    return head + "".join(rows)


def page(text: str) -> str:
    """`text` with the table as it is now."""
    before, _, rest = text.partition(START)
    return before + START + table() + END + rest.partition(END)[2]


def _whose(cls: type[Backend], operation: str) -> str:
    return "generic" if getattr(cls, operation) is getattr(GenericBackend, operation) else "own"


def _has(cls: type[Backend], name: str) -> str:
    """From the class alone: CuPy's cannot be made without a GPU, and none asks its library but JAX for x64."""
    source = inspect.getsource(cls.capabilities.fget)  # type: ignore[attr-defined]  # a property of the class
    if "x64" in source and name == "float64":
        return "with x64"
    return "yes" if getattr(cls.capabilities.fget(cls.__new__(cls)), name) else "no"  # type: ignore[attr-defined]  # as above


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
