"""What importing and calling must not load, and what the packages say is public."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import vjaccel as vj

HEAVY = ("torch", "jax", "jaxlib", "cupy", "numba", "pyarrow", "typer", "rich", "sentence_transformers", "transformers",
         "pydantic", "yaml", "pytest", "lance")  # fmt: skip
FRAMEWORKS = ("torch", "jax", "jaxlib", "cupy", "pyarrow", "lance", "sentence_transformers", "transformers")


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of `names` a new process has loaded after `code`."""
    code += f"\nimport json, sys; print(json.dumps([name for name in {names} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def packages() -> list[str]:
    return ["vjaccel", *(m.name for m in pkgutil.walk_packages(vj.__path__, "vjaccel.") if m.ispkg)]


def modules() -> list[str]:
    found = pkgutil.walk_packages(vj.__path__, "vjaccel.")
    return [m.name for m in found if not m.ispkg and not m.name.endswith("__main__")]


def in_order(names: list[str]) -> list[str]:
    """Constants, classes, functions."""
    return sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded("import vjaccel", HEAVY) == []


@pytest.mark.parametrize(
    "name", ["topk", "Embedder", "Corpus", "Collection", "MissingExtra", "BatchConfig", "BatchProcessor", "Vector"]
)
def test_naming_a_public_thing_loads_no_framework(name: str) -> None:
    assert loaded(f"import vjaccel as vj; vj.{name}", FRAMEWORKS) == []


@pytest.mark.parametrize(
    "call",
    [
        "vj.topk([1.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], k=1)",
        "vj.normalize([3.0, 4.0])",
        "vj.distance([[3.0, 4.0]], [[0.0, 0.0]])",
        "vj.backends(probe=False)",
        "vj.Collection('notes', dim=2).upsert(['a'], [[1.0, 0.0]], [{'year': 1}])",
    ],
)
def test_an_operation_on_numpy_loads_no_framework(call: str) -> None:
    assert loaded(f"import vjaccel as vj; {call}", FRAMEWORKS) == []


def test_every_public_name_is_there() -> None:
    assert {name for name in vj.__all__ if getattr(vj, name, None) is None} == set()
    assert set(vj.__all__) <= set(dir(vj))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'vjaccel' has no attribute 'nothing'"):
        vj.nothing  # noqa: B018  # that it raises is what is tested


@pytest.mark.parametrize("name", modules())
def test_every_module_lists_its_public_names_and_has_them(name: str) -> None:
    module = import_module(name)
    assert len(set(module.__all__)) == len(module.__all__) > 0
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


@pytest.mark.parametrize("name", packages())
def test_a_package_lists_every_name_that_it_gives_in_order(name: str) -> None:
    package = import_module(name)
    public = getattr(package, "__all__", [])
    assert public == in_order(public)
    given = {
        key
        for key, value in vars(package).items()
        if not key.startswith("_") and str(getattr(value, "__module__", "")).startswith("vjaccel")
    }
    assert given - set(public) == set()
