"""`vjaccel embed --engine ray`: what is asked of a run on a cluster, and what cannot be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from vjaccel.cli.embed_asked import Asked
from vjaccel.cluster import Resources, Workers, own_ray
from vjaccel.embedding.models import folder_here
from vjaccel.embedding.providers.registry import check_registered
from vjaccel.engines import RayRun
from vjaccel.errors import InvalidInput

__all__ = ["check_model", "connecting", "engines", "placed"]

MODELS, PLACES = ("torch", "onnx", "openvino"), ("local", "ray")


def engines(said: list[str]) -> tuple[str, bool]:
    """What runs a local model, and whether the run is one on Ray, of what --engine was given.

    Raises
    ------
    InvalidInput
    """
    unknown = [name for name in said if name not in (*MODELS, *PLACES)]
    if unknown:
        raise InvalidInput(f"--engine {unknown[0]!r} is none of {', '.join((*MODELS, *PLACES))}")
    places = [name for name in said if name in PLACES]
    others = [name for name in said if name not in PLACES]
    if len(places) > 1 or len(others) > 1:
        raise InvalidInput(f"--engine {' --engine '.join(said)}: one of local, ray, and one of torch, onnx, openvino")
    return (others or ["torch"])[0], places == ["ray"]


def check_model(address: str | None, model: str) -> None:
    """Refuse a model that is not here, where a Ray of the command's own is to have it: one that starts takes longer to tell.

    Raises
    ------
    UnknownProvider, ModelUnavailable
    """
    if not own_ray(address):
        return
    check_registered(model)
    provider, _, name = model.partition(":")
    if provider == "local":
        folder_here(name)


def connecting(address: str | None) -> str:
    """What is done before a run on Ray has its workers."""
    if own_ray(address):
        return "starting Ray on this machine"
    return f"connecting to the Ray cluster at {address or os.environ['RAY_ADDRESS']}"


def placed(
    asked: Asked, workers: str | None, address: str | None, resources: str | None, *, on_ray: bool
) -> tuple[RayRun | None, int | None]:
    """How a run on Ray is spread; or, of one on this machine, how many batches are embedded at once, if that was said.

    Parameters
    ----------
    workers, address, resources
        What --workers, --address and --resources were given.

    Raises
    ------
    InvalidInput
        Something cannot be asked of where the run is.
    """
    if on_ray:
        refused = {"-o -": asked.output == "-", "the input -": "-" in asked.inputs, "--dry-run": asked.dry_run}
        return _spread(workers, resources, asked.shard_rows, refused), None
    rows = None if asked.shards else asked.shard_rows
    return None, _batches_at_once(workers, {"--address": address, "--resources": resources, "--shard-rows": rows})


def _spread(workers: str | None, resources: str | None, shard_rows: int | None, refused: Mapping[str, bool]) -> RayRun:
    """How a run on Ray is spread; `refused` is what cannot be asked of one, and whether it was."""
    asked = [name for name, given in refused.items() if given]
    if asked:
        raise InvalidInput(
            f"{asked[0]} goes with --engine local alone: workers read files, and all write to one folder"
        )
    return RayRun(
        Workers() if workers is None else Workers.of(workers),
        Resources() if resources is None else Resources.of(resources),
        shard_rows,
    )


def _batches_at_once(workers: str | None, others: Mapping[str, Any]) -> int | None:
    """What --workers says on this machine, where `others`, of a cluster, are not to be given."""
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise InvalidInput(f"{given[0]} is for --engine ray")
    if workers is None:
        return None
    if ":" in workers:
        raise InvalidInput(
            f"--workers {workers}: MIN:MAX is how many workers --engine ray may have; on this machine give one number, of "
            "batches at once"
        )
    if not workers.isdecimal() or int(workers) < 1:
        raise InvalidInput(f"--workers {workers!r} is no whole number of at least 1")
    return int(workers)
