"""A run of `vjaccel bench` as a value, and as the JSON that is kept: what was measured, never what is derived from it.

Times are seconds, sizes bytes, and every figure is its list of rounds; what is unknown is None.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vjaccel.errors import FileFormatError
from vjaccel.pages.whole import write_whole

__all__ = [
    "BASELINE",
    "SCHEMA",
    "Case",
    "Embedding",
    "Machine",
    "Measurement",
    "Recall",
    "Run",
    "Subject",
    "Unmeasured",
    "dumps",
    "load",
    "loads",
    "save",
]

SCHEMA = "vjaccel-bench/1"

BASELINE = "numpy:cpu"
"""The subject that all others are compared with."""

T = TypeVar("T")


@dataclass(frozen=True)
class Machine:
    """What it was measured on.

    `clock` are the seconds of one fixed piece of work, taken through the run; `clock_spread` is their (p90 - p10) / median.
    """

    cpu: str
    cores: int
    physical_cores: int | None
    memory_bytes: int
    system: str
    python: str
    clock: tuple[float, ...]
    clock_spread: float


@dataclass(frozen=True)
class Subject:
    """A backend on a device, or an installed peer; `state` and `reason` say how it fared."""

    name: str
    kind: Literal["backend", "peer"]
    device: str
    hardware: str | None
    state: Literal["ok", "crashed", "hung", "refused", "failed"]
    reason: str | None
    start_s: float | None
    copy_bytes_per_s: float | None
    matmul_flops_per_s: float | None
    upload_bytes_per_s: float | None


@dataclass(frozen=True)
class Case:
    """One operation on one shape and dtype, with the work and the traffic that it needs at the least."""

    id: str
    operation: str
    metric: str | None
    dtype: str
    shape: dict[str, int]
    flops: float
    bytes: float


@dataclass(frozen=True)
class Measurement:
    """What one subject took for one case.

    `origin` ("from" in the JSON) is where the data was; `first_s` is the first call of that shape, compilation included;
    `error` the largest deviation from float64; `refused` why the figure does not count.
    """

    subject: str
    case: str
    origin: Literal["device", "host"] = field(metadata={"key": "from"})
    first_s: float | None
    seconds: tuple[float, ...]
    error: float | None
    refused: str | None


@dataclass(frozen=True)
class Embedding:
    """What one subject took to embed the same texts; `batch` counts tokens or texts, as `unit` says."""

    subject: str
    model: str
    dtype: str
    batch: int
    unit: Literal["tokens", "texts"]
    texts: int
    tokens: int
    seconds: tuple[float, ...]
    refused: str | None
    error: float | None


@dataclass(frozen=True)
class Recall:
    """What a search over codes found of the true ten nearest, and what it took."""

    subject: str
    how: str
    rows: int
    dim: int
    recall_at_10: float
    seconds: tuple[float, ...]
    queries: int


@dataclass(frozen=True)
class Unmeasured:
    """A case that a subject has no figure for, and why: the budget was used up, it has no such dtype, it crashed before."""

    subject: str
    case: str
    reason: str


@dataclass(frozen=True)
class Run:
    """One run on one machine; `stopped_by` says why it ended early, if it did.

    `notes` are sentences for whoever reads it: what was left out as a whole, and why.
    """

    vjaccel: str
    started: str
    seconds: float
    stopped_by: Literal["budget", "interrupt"] | None
    command: str
    machine: Machine
    versions: dict[str, str]
    subjects: tuple[Subject, ...]
    cases: tuple[Case, ...]
    measurements: tuple[Measurement, ...]
    embedding: tuple[Embedding, ...]
    recall: tuple[Recall, ...]
    unmeasured: tuple[Unmeasured, ...] = ()
    notes: tuple[str, ...] = ()


def dumps(run: Run) -> str:
    """`run` as JSON; a number that is not finite is written as unknown."""
    return json.dumps({"schema": SCHEMA} | _plain(run), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def save(run: Run, path: str | Path) -> None:
    """Write `run` to `path`.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_whole(Path(path), dumps(run))


def load(path: str | Path) -> Run:
    """The run that `path` holds.

    Raises
    ------
    FileFormatError
        The file cannot be read, is no JSON of `vjaccel bench`, is of another version, or contradicts itself.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as exc:
        raise FileFormatError(f"{path} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise FileFormatError(f"{path} is no result of `vjaccel bench`: it is not UTF-8.") from exc
    return loads(text, str(path))


def loads(text: str, name: str = "the text") -> Run:
    """The run that `text` describes; `name` stands in the error, which is that of `load`."""
    try:
        whole = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise FileFormatError(f"{name} is no result of `vjaccel bench`: it is not JSON ({exc}).") from exc
    schema = whole.get("schema") if isinstance(whole, dict) else None
    if not (isinstance(schema, str) and schema.startswith("vjaccel-bench/")):
        raise FileFormatError(f"{name} is no result of `vjaccel bench`: it has no schema.")
    if schema != SCHEMA:
        raise FileFormatError(
            f"{name} is of the version {schema!r}, and this vjaccel reads {SCHEMA!r}: "
            "measure again with this version, or read it with the one that wrote it."
        )
    try:
        run = _read(Run, whole, "")
        _check(run)
    except (OverflowError, TypeError, ValueError) as exc:
        raise FileFormatError(f"{name} is not a whole result of `vjaccel bench`: {exc}.") from exc
    return run


def _check(run: Run) -> None:
    """What is spoken of must be there, once, and every time must be one."""
    subjects, cases = [s.name for s in run.subjects], [c.id for c in run.cases]
    for what, names in (("subject", subjects), ("case", cases)):
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"the {what} {min(twice)!r} stands there twice")
    rows: list[Measurement | Embedding | Recall] = [*run.measurements, *run.embedding, *run.recall]
    for row in rows:
        if row.subject not in subjects:
            raise ValueError(f"it speaks of a subject {row.subject!r} that it does not list")
        if isinstance(row, Measurement) and row.case not in cases:
            raise ValueError(f"it speaks of a case {row.case!r} that it does not list")
        if any(x <= 0 for x in row.seconds):
            raise ValueError(f"{row.subject!r} has a time that is not above zero")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {_key(f): _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _key(f: dataclasses.Field[Any]) -> str:
    return str(f.metadata.get("key", f.name))


def _read(kind: type[T], value: Any, where: str) -> T:
    """`value` as the dataclass `kind`; keys that it does not know are left out, so that a later vjaccel may add some."""
    if not isinstance(value, dict):
        raise TypeError(f"{where or 'the whole'} is not an object")
    hints = get_type_hints(kind)
    found = {}
    for f in dataclasses.fields(kind):  # type: ignore[arg-type]  # only dataclasses get here
        key, at = _key(f), f"{where}.{_key(f)}".lstrip(".")
        if key not in value and f.default is not dataclasses.MISSING:
            continue
        if key not in value:
            raise ValueError(f"{at} is missing")
        found[f.name] = _typed(hints[f.name], value[key], at)
    return kind(**found)


def _typed(hint: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _typed(next(x for x in inner if x is not types.NoneType), value, where)
    if dataclasses.is_dataclass(hint):
        return _read(hint, value, where)  # type: ignore[arg-type]  # a class, as the hints of fields are
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"{where} is {value!r}, and may be {', '.join(map(repr, inner))}")
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(inner[0], x, f"{where}[{i}]") for i, x in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {k: _typed(inner[1], x, f"{where}.{k}") for k, x in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint in (int, str) and isinstance(value, hint) and not isinstance(value, bool):
        return value
    raise TypeError(f"{where} is not {'a number' if hint in (int, float) else 'what belongs there'}")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
