"""What is compiled: small pure functions, each for one shape of tile. Imports JAX, so it is imported at first use."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vjaccel.arrays.coarse import HalfRows, Tf32Rows
from vjaccel.arrays.codes import Codes
from vjaccel.arrays.grouped import group_size
from vjaccel.arrays.search import PreparedRows

__all__ = [
    "at_least",
    "copied",
    "fill",
    "kept",
    "largest",
    "padded",
    "piece",
    "place",
    "put_rows",
    "real_rows",
    "squares_root",
    "still_refused",
    "tile_of",
]

META = {"metric", "rows", "dim", "kind"}

for _kind in (PreparedRows, Tf32Rows, HalfRows, Codes):
    _names = {field.name for field in fields(_kind)}
    jax.tree_util.register_dataclass(_kind, data_fields=sorted(_names - META), meta_fields=sorted(_names & META))


def padded(x: jax.Array, rows: int, value: Any, axis: int = 0) -> jax.Array:
    """`x` with `value` added along `axis` until that is `rows` long."""
    return x if x.shape[axis] == rows else _padded(x, rows, value, axis)


@partial(jax.jit, static_argnames=("rows", "axis"))
def _padded(x: jax.Array, rows: int, value: Any, axis: int) -> jax.Array:
    widths = [(0, rows - x.shape[i] if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths, constant_values=jnp.asarray(value, x.dtype))


def piece(x: jax.Array, start: int, size: int, axis: int = 0) -> jax.Array:
    """`size` of `x` along `axis`, from `start`."""
    return x if x.shape[axis] == size else _piece(x, start, size, axis)


@partial(jax.jit, static_argnames=("size", "axis"))
def _piece(x: jax.Array, start: int, size: int, axis: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, start, size, axis)


@partial(jax.jit, static_argnames="size")
def tile_of(prepared: PreparedRows, start: int, size: int) -> PreparedRows:
    """`size` rows of a corpus, a corpus themselves."""

    def cut(x: jax.Array | None) -> jax.Array | None:
        return None if x is None else jax.lax.dynamic_slice_in_dim(x, start, size)

    tile = {name: cut(getattr(prepared, name)) for name in prepared.row_fields}
    if isinstance(prepared, HalfRows):
        tile["vectors"] = prepared.vectors[:1]  # for their dtype: that scan does not read them
    return replace(prepared, rows=size, **tile)


@jax.jit
def real_rows(
    ordinary: jax.Array, instead: jax.Array, norms: jax.Array, rows: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What is known of a prepared corpus' rows, those from `rows` on refused; and the largest norm of the others."""
    real = jnp.arange(ordinary.shape[0]) < rows
    return ordinary & real, jnp.where(real, instead, -jnp.inf), jnp.max(jnp.where(real, norms, 0.0))


def _filled(out: jax.Array, block: jax.Array, *starts: int) -> jax.Array:
    block = block[tuple(slice(0, length) for length in out.shape)]
    return jax.lax.dynamic_update_slice(out, block, starts)


_filled_in_place = jax.jit(_filled, donate_argnums=0)


def fill(out: jax.Array, block: jax.Array, *starts: int) -> jax.Array:
    """`out` with `block`, as far as that fits, written at `starts`: in place, `out` is given up; not so while tracing."""
    return (_filled if isinstance(block, jax.core.Tracer) else _filled_in_place)(out, block, *starts)


@jax.jit
def place(block: jax.Array, rows: jax.Array, columns: jax.Array, values: jax.Array) -> jax.Array:
    """`block` with `values` at (rows, columns); what lies outside is left out."""
    return block.at[rows, columns].set(values, mode="drop")


@partial(jax.jit, donate_argnums=0)
def put_rows(out: dict[str, jax.Array], ids: jax.Array, rows: dict[str, Any]) -> dict[str, jax.Array]:
    """`out`, whose arrays are given up, with those of `rows`, or one value for all, at `ids`; what lies outside is left out."""
    return {name: x.at[ids].set(jnp.asarray(rows[name]).astype(x.dtype), mode="drop") for name, x in out.items()}


@partial(jax.jit, static_argnames="rows")
def copied(x: jax.Array, rows: int) -> jax.Array:
    """A copy of `x`, also where it is as long, and rows of zeros until there are `rows`."""
    return jnp.zeros((rows, *x.shape[1:]), x.dtype).at[: x.shape[0]].set(x)


@jax.jit
def still_refused(
    ordinary: jax.Array, instead: jax.Array, ordinary_before: jax.Array, instead_before: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What is known of rows, those refused that were so before."""
    count = ordinary.shape[0]
    refused = (~ordinary_before & (instead_before < 0))[:count]
    refused = jnp.pad(refused, (0, count - refused.shape[0]))
    return ordinary & ~refused, jnp.where(refused, -jnp.inf, instead)


@jax.jit
def at_least(largest: jax.Array, norms: jax.Array, rows: int) -> jax.Array:
    """The largest of `largest` and of the first `rows` of `norms`."""
    return jnp.maximum(largest, jnp.max(jnp.where(jnp.arange(norms.shape[0]) < rows, norms, 0.0)))


@partial(jax.jit, static_argnames="count")
def kept(
    best: tuple[jax.Array, jax.Array] | None,
    scores: jax.Array,
    start: int,
    first: int,
    mask: jax.Array | None,
    count: int,
) -> tuple[jax.Array, jax.Array]:
    """The best `count` of `best` (scores and rows) and of a tile's `scores`, which start at row `start`; from `first` on.

    Of a first tile there is no `best`. Rows that may not be returned have score -inf and number -1.
    """
    rows = start + jnp.arange(scores.shape[1], dtype=jnp.int32)
    allowed = (rows >= first)[None, :]
    if mask is not None:
        allowed = allowed & (mask if mask.ndim == 2 else mask[None, :])
    found, chosen = largest(jnp.where(allowed, scores, -jnp.inf), min(count, scores.shape[1]))
    ids = jnp.where(found == -jnp.inf, -1, rows[chosen])
    if best is None:
        widths = ((0, 0), (0, count - found.shape[1]))
        return jnp.pad(found, widths, constant_values=-jnp.inf), jnp.pad(ids, widths, constant_values=-1)
    values, places = jax.lax.top_k(jnp.concatenate([best[0], found], axis=1), count)
    return values, jnp.take_along_axis(jnp.concatenate([best[1], ids], axis=1), places, axis=1)


def largest(scores: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The best `count` of each row and their columns: of the groups with the best maxima, and of nothing else.

    Any score beaten by no more than `count` others lies in such a group, so this is exact; `jax.lax.top_k` of whole rows reads
    every score several times.
    """
    n, m = scores.shape
    size = group_size(m, count)
    if size == 1:
        values, columns = jax.lax.top_k(scores, count)
        return values, columns
    whole = m // size
    groups = scores[:, : whole * size].reshape(n, whole, size)
    _, chosen = jax.lax.top_k(groups.max(axis=2), count)
    candidates = jnp.take_along_axis(groups, chosen[:, :, None], axis=1).reshape(n, count * size)
    columns = (chosen[:, :, None] * size + jnp.arange(size, dtype=chosen.dtype)).reshape(n, count * size)
    rest = jnp.broadcast_to(jnp.arange(whole * size, m, dtype=chosen.dtype), (n, m - whole * size))
    candidates = jnp.concatenate([candidates, scores[:, whole * size :]], axis=1)
    columns = jnp.concatenate([columns, rest], axis=1)
    values, places = jax.lax.top_k(candidates, count)
    return values, jnp.take_along_axis(columns, places, axis=1)


def squares_root(squares: jax.Array) -> jax.Array:
    """The square root, whose gradient at zero is zero."""
    zero = squares == 0.0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squares)))
