"""How batches are processed: `BatchConfig`, from a YAML file, the environment and arguments, the later ones first.

The names of the keys are part of what users have in their files; a key that is not one of them is refused.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from vjaccel.errors import FileFormatError, InvalidInput

__all__ = [
    "BatchConfig",
    "EmbeddingConfig",
    "MonitoringConfig",
    "OperationSettings",
    "PerformanceConfig",
    "ProviderSettings",
    "VectorConfig",
]

RETRIES = "requests to a provider are tried again until its timeout is used up"
INSTEAD = {
    "enable_retry": RETRIES,
    "retry_attempts": RETRIES,
    "cpu_affinity_enabled": "list the processors in cpu_affinity",
    "memory_limit": "memory_pool_size bounds the buffers of all operations",
}
"""Keys that other systems have and this one has not, and what does it here."""


def _no_bool(value: object) -> object:
    # pydantic takes `true` for the number 1, and a person who writes it means something else.
    if isinstance(value, bool):
        raise ValueError("it needs a number")
    return value


def _filled(value: object) -> object:
    # YAML has null where a section is written without a key.
    return {} if value is None else value


Of = TypeVar("Of")
Filled = Annotated[Of, BeforeValidator(_filled)]
"""A section that may be empty: all its keys are then as they are by default."""

Whole = Annotated[int, BeforeValidator(_no_bool), Field(ge=1)]
Seconds = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)]
Port = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ProviderSettings(_Section):
    """What holds for one provider of embeddings instead of `EmbeddingConfig`."""

    model: str | None = None
    """The model's name at the provider, for requests that name none."""
    batch_size: Whole | None = None
    """Texts in one batch."""
    max_concurrent_batch: Whole | None = None
    """Batches of one request at once, at most."""
    timeout: Seconds | None = None
    """Seconds for a request to a remote provider, all its attempts together."""
    rate_limit_rpm: Whole | None = None
    """Requests a minute to a remote provider."""
    rate_limit_tpm: Whole | None = None
    """Tokens a minute to a remote provider."""


class OperationSettings(_Section):
    """What holds for one vector operation instead of `VectorConfig`."""

    batch_size: Whole | None = None
    """Vectors in one batch."""
    max_concurrent_batch: Whole | None = None
    """Batches of one request at once, at most."""
    timeout: Seconds | None = None
    """Seconds for a request."""


class _Batches(_Section):
    default_batch_size: Whole | None = None
    """Items in one batch, where a request does not say; by default what is measured to be best."""
    max_batch_size: Whole
    """Items in one batch, at most; a request that asks for more is refused."""
    max_concurrent_batch: Whole = 16
    """Batches of one request at once, at most; one that asks for more gets these."""
    default_timeout: Seconds | None = None
    """Seconds for a request, where it does not say; by default there is no end."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.default_batch_size is not None and self.default_batch_size > self.max_batch_size:
            raise ValueError(
                f"default_batch_size is {self.default_batch_size}, more than max_batch_size, {self.max_batch_size}"
            )
        return self


class EmbeddingConfig(_Batches):
    """How texts are embedded."""

    max_batch_size: Whole = 100_000
    enable_cache: bool = True
    """Look texts up in the embedder's cache, where a request does not say."""
    cache: str = "memory"
    """The cache of embedders that the processor makes: ``memory``, ``disk``, a folder or ``redis://...``."""
    provider_settings: Filled[dict[str, Filled[ProviderSettings]]] = Field(default_factory=dict)
    """By the provider's name: one that is registered, or ``custom``."""

    @field_validator("provider_settings")
    @classmethod
    def _registered(cls, settings: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        known = {"custom", *(entry.name for entry in entry_points(group="vjaccel.providers"))} if settings else set()
        for name in settings.keys() - known:
            raise ValueError(f"no provider is registered as {name!r}; {_near(name, sorted(known), 'there are')}")
        return settings


Operation = Literal["insert", "update", "delete", "search", "similarity", "normalize", "distance"]


class VectorConfig(_Batches):
    """How operations on vectors are done."""

    max_batch_size: Whole = 1_000_000
    enable_simd: bool = True
    """Use the compiled kernels; False takes the plain NumPy path, whose results are the same within its tolerance."""
    enable_parallel: bool = True
    """Several batches at once; False is one after the other, in the calling thread."""
    worker_count: Whole | None = None
    """Threads for the batches of all requests; by default the processors that this process may use."""
    operation_settings: Filled[dict[Operation, Filled[OperationSettings]]] = Field(default_factory=dict)
    """By the operation's name."""


class PerformanceConfig(_Section):
    """Memory, processors, and finding out where time goes."""

    enable_memory_pool: bool = True
    """Use the buffers again in which lists of vectors are put together."""
    memory_pool_size: ByteSize = ByteSize(256_000_000)
    """What the pool keeps at most: bytes, or text such as ``2GB`` or ``512MiB``."""
    gc_optimization: bool = False
    """Leave garbage collection out while batches run, and collect between them."""
    cpu_affinity: tuple[int, ...] = ()
    """The processors that worker threads are pinned to, by number, of those that this process may use; none leaves them to
    the system."""
    enable_profiling: bool = False
    """Sample what the threads do while batches run."""
    profiling_interval: Seconds = 60.0
    """Seconds after which a profile is written, in the format of speedscope."""
    profiling_folder: str = "profiles"
    """Where profiles are written."""

    @field_validator("cpu_affinity")
    @classmethod
    def _there(cls, wanted: tuple[int, ...]) -> tuple[int, ...]:
        if wanted and not hasattr(os, "sched_setaffinity"):
            raise ValueError("this system pins no threads; leave it out")
        there = os.sched_getaffinity(0) if wanted else set()
        for number in sorted(set(wanted) - there):
            raise ValueError(f"this process may not use processor {number}; it has {sorted(there)}")
        return wanted


class MonitoringConfig(_Section):
    """What is said while batches run, by the logger ``vjaccel.batch``, and to Prometheus."""

    enable_progress_logs: bool = False
    """Log how far the work is."""
    log_interval: Seconds = 10.0
    """Seconds between two such lines."""
    enable_health_check: bool = False
    """Look whether work goes on and memory is left, and log a warning where not."""
    health_check_interval: Seconds = 30.0
    """Seconds between two such looks."""
    enable_metrics: bool = False
    """Count for Prometheus what happens in this process, and serve it: docs/monitoring.md."""
    metrics_interval: Seconds = 10.0
    """Seconds after which metrics that must be looked at, such as memory, are brought up to date."""
    metrics_port: Port | None = 9464
    """Where they are served; 0 is any free port, and null serves nothing: then another process of the same folder does."""
    metrics_host: str = "127.0.0.1"
    """The address of this machine that they are served at; others than 127.0.0.1 let others read them."""


class BatchConfig(BaseSettings):
    """How a `BatchProcessor` works.

    Arguments win over the environment, ``VJACCEL_EMBEDDING_CONFIG__DEFAULT_BATCH_SIZE=50`` for one key, and that over a file.

    Parameters
    ----------
    embedding_config, vector_config, performance_config, monitoring_config
        Each of its own class, or a mapping of its keys.

    Raises
    ------
    InvalidInput
        A key that is unknown (the near one is named), or a value that it does not take.

    Examples
    --------
    >>> BatchConfig(embedding_config={"default_batch_size": 50}).embedding_config.default_batch_size
    50
    """

    model_config = SettingsConfigDict(
        env_prefix="VJACCEL_", env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    embedding_config: Filled[EmbeddingConfig] = Field(default_factory=EmbeddingConfig)
    vector_config: Filled[VectorConfig] = Field(default_factory=VectorConfig)
    performance_config: Filled[PerformanceConfig] = Field(default_factory=PerformanceConfig)
    monitoring_config: Filled[MonitoringConfig] = Field(default_factory=MonitoringConfig)

    def __init__(self, **values: Any) -> None:
        _check_environment(type(self).model_fields)
        try:
            super().__init__(**values)
        except ValidationError as exc:
            raise InvalidInput(_sentence(type(self), exc, "the configuration")) from exc
        except SettingsError as exc:
            raise InvalidInput(f"the environment: {exc}") from exc

    @classmethod
    def load(cls, path: str | PathLike[str], **values: Any) -> BatchConfig:
        """The configuration of a YAML file, under the environment and `values`.

        Raises
        ------
        FileFormatError
            The file is no YAML, or no mapping.
        InvalidInput
            As in `BatchConfig`.
        OSError
            The file cannot be read.
        """
        name = fspath(path)
        try:
            found = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)  # noqa: S506  # it is a safe one
        except (yaml.YAMLError, UnicodeDecodeError) as exc:
            raise FileFormatError(f"{name} is no YAML: {' '.join(str(exc).split())}") from exc
        if found is not None and not isinstance(found, dict):
            raise FileFormatError(f"{name} is a YAML {type(found).__name__}; a configuration is a mapping")
        try:
            environment = EnvSettingsSource(cls)()
            merged = _merged(_merged(found or {}, environment), _plain(values))
            return cls(**merged)
        except SettingsError as exc:
            raise InvalidInput(f"the environment: {exc}") from exc
        except InvalidInput as exc:
            if not isinstance(exc.__cause__, ValidationError):
                raise
            raise InvalidInput(_sentence(cls, exc.__cause__, name)) from exc.__cause__

    def to_yaml(self) -> str:
        """All keys with their values, as `load` reads them."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


class _Loader(yaml.SafeLoader):
    """YAML in which a key that comes twice is the error that it is, and not the last of them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                before = seen.setdefault((key.tag, key.value), key)
                if before is not key:
                    lines = f"in lines {before.start_mark.line + 1} and {key.start_mark.line + 1}"
                    raise yaml.YAMLError(f"the key {key.value!r} comes twice, {lines}")
        return super().construct_mapping(node, deep)


def _check_environment(sections: Iterable[str]) -> None:
    """Refuse variables that look as if they were of a section, and are of none; pydantic passes over them."""
    known = {f"VJACCEL_{section}".upper() for section in sections}
    for name in os.environ:
        section = name.upper().partition("__")[0]
        ours = section.startswith("VJACCEL_") and ("__" in name or "_CONFIG" in section)
        if ours and section not in known:
            near = difflib.get_close_matches(section, sorted(known), 1)
            hint = f"did you mean {near[0]}__...?" if near else f"there are {', '.join(sorted(known))}"
            raise InvalidInput(f"the environment: {name} is of no section; {hint}")


def _near(name: str, known: Sequence[str], those: str) -> str:
    """The known name that is near, or all of them."""
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"{those} {', '.join(known)}"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections that were given as their class, as mappings of what was set in them."""
    return {
        key: value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        for key, value in values.items()
    }


def _merged(under: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _sentence(config: type[BaseModel], exc: ValidationError, where: str) -> str:
    """The first thing that is wrong, where, and what to do."""
    first = exc.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        return f"{where}: {_unknown(config, first['loc'], place)}"
    said = first["msg"].removeprefix("Value error, ")
    said = said[:1].lower() + said[1:]
    given = first["input"]
    shown = f", not {given!r}" if isinstance(given, str | int | float) else ""
    return f"{where}: {place}: {said}{shown}"


def _unknown(config: type[BaseModel], loc: Sequence[int | str], place: str) -> str:
    key = str(loc[-1])
    if key in INSTEAD:
        return f"{place} is not supported; {INSTEAD[key]}"
    return f"{place} is unknown; {_near(key, _keys_at(config, loc[:-1]), 'known here:')}"


def _keys_at(config: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys of the section at a place."""
    sections: dict[str, type[BaseModel]] = {
        "embedding_config": EmbeddingConfig,
        "vector_config": VectorConfig,
        "performance_config": PerformanceConfig,
        "monitoring_config": MonitoringConfig,
        "provider_settings": ProviderSettings,
        "operation_settings": OperationSettings,
    }
    found: type[BaseModel] = config
    for part in loc:
        found = sections.get(str(part), found)
    return list(found.model_fields)
