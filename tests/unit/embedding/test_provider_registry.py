"""From the name of a model to its provider: entry points of any distribution, and clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.cli.letters import LettersProvider
from vjaccel.embedding.providers.function import FunctionProvider
from vjaccel.embedding.providers.protocol import ProviderOptions
from vjaccel.embedding.providers.registry import make_provider

Install = Callable[..., None]

LETTERS = "tests.unit.cli.letters:LettersProvider"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution that registers providers."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def installed(distribution: str, **providers: str) -> None:
        information = tmp_path / f"{distribution}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in providers.items()]
        (information / "entry_points.txt").write_text("\n".join(["[vjaccel.providers]", *lines]) + "\n")

    return installed


def test_a_provider_of_another_distribution_is_found_by_its_name_and_given_the_rest(install: Install) -> None:
    install("letters", letters=LETTERS)
    assert isinstance(make_provider("letters:5", ProviderOptions()), LettersProvider)
    with vj.Embedder("letters:5") as embedder:
        assert embedder.dim == 5
        assert embedder.embed([]).embeddings.shape == (0, 5)
        np.testing.assert_array_equal(embedder.embed(["\x02"]).embeddings, [[0, 0, 1, 0, 0]])


def test_the_rest_of_a_name_may_have_colons(install: Install) -> None:
    install("function", echo="vjaccel.embedding.providers.function:FunctionProvider")
    made = make_provider("echo:ollama:7b", ProviderOptions())
    assert isinstance(made, FunctionProvider)
    assert made._function == "ollama:7b"


def test_a_near_name_is_suggested(install: Install) -> None:
    install("letters", letters=LETTERS)
    with pytest.raises(
        vj.UnknownProvider, match=r"'leters'; did you mean 'letters'\?; registered: .*\bletters, local\b"
    ):
        vj.Embedder("leters:5")


def test_a_name_near_to_none_is_answered_with_those_there_are() -> None:
    with pytest.raises(vj.UnknownProvider, match=r"no provider is registered as 'xyzzy'; registered: .*\blocal\b"):
        vj.Embedder("xyzzy:model")


@pytest.mark.parametrize("model", ["all-MiniLM-L6-v2", ":all-MiniLM-L6-v2"])
def test_a_model_without_its_provider_is_taken_for_a_local_one_in_the_hint(model: str) -> None:
    with pytest.raises(vj.UnknownProvider, match=r"names no provider; did you mean 'local:all-MiniLM-L6-v2'\?"):
        vj.Embedder(model)


@pytest.mark.parametrize("model", ["", ":"])
def test_no_name_at_all_is_refused_without_a_guess(model: str) -> None:
    with pytest.raises(vj.UnknownProvider, match=rf"model '{model}' names no provider. Providers: .*\blocal\b"):
        vj.Embedder(model)


def test_a_provider_without_a_model_is_said_to_be_that() -> None:
    with pytest.raises(vj.UnknownProvider, match="names no model of the provider 'local'; write 'local:NAME'"):
        vj.Embedder("local:")


@pytest.mark.parametrize("model", [None, 3, b"local:x", Path("folder"), ["local:x"]])
def test_what_is_neither_text_nor_function_is_refused(model: object) -> None:
    with pytest.raises(vj.InvalidType, match=f"not {type(model).__name__}"):
        vj.Embedder(model)  # type: ignore[arg-type]  # the point


@pytest.mark.parametrize("value", ["no_such_module:Provider", "tests.unit.cli.letters:NoSuchName"])
def test_a_provider_that_cannot_be_imported_says_why(install: Install, value: str) -> None:
    install("broken", broken=value)
    with pytest.raises(vj.ModelUnavailable, match=rf"'broken' cannot be imported from {value}: \w+Error: ") as raised:
        vj.Embedder("broken:model")
    assert isinstance(raised.value.__cause__, ImportError | AttributeError)


def test_a_name_that_two_distributions_register_is_refused_with_both(install: Install) -> None:
    install("one", letters=LETTERS)
    install("two", letters="elsewhere:Provider")
    with pytest.raises(vj.ModelUnavailable, match="uninstall all but one") as raised:
        vj.Embedder("letters:5")
    assert f"one ({LETTERS})" in str(raised.value)
    assert "two (elsewhere:Provider)" in str(raised.value)
