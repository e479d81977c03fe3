"""What is compiled: small pure functions, each for one shape of tile. Imports JAX, so it is imported at first use."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vjaccel.arrays.coarse import HalfRows, Tf32Rows
from vjaccel.arrays.grouped import group_size
from vjaccel.arrays.search import PreparedRows

__all__ = ["fill", "kept", "largest", "padded", "piece", "place", "put_rows", "squares_root", "tile_of"]

META = ["metric", "rows", "dim"]

for _kind in (PreparedRows, Tf32Rows, HalfRows):
    _data = [field.name for field in fields(_kind) if field.name not in META]
    jax.tree_util.register_dataclass(_kind, data_fields=_data, meta_fields=META)


@partial(jax.jit, static_argnames=("rows", "axis"))
def padded(x: jax.Array, rows: int, value: Any, axis: int = 0) -> jax.Array:
    """`x` with `value` added along `axis` until that is `rows` long."""
    widths = [(0, rows - x.shape[i] if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths, constant_values=jnp.asarray(value, x.dtype))


@partial(jax.jit, static_argnames=("size", "axis"))
def piece(x: jax.Array, start: int, size: int, axis: int = 0) -> jax.Array:
    """`size` of `x` along `axis`, from `start`."""
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
def put_rows(out: jax.Array, ids: jax.Array, rows: jax.Array) -> jax.Array:
    """`out`, which is given up, with `rows` at `ids`; those that lie outside are left out."""
    return out.at[ids].set(rows.astype(out.dtype), mode="drop")


@partial(jax.jit, static_argnames="count")
def kept(
    best: tuple[jax.Array, jax.Array], scores: jax.Array, start: int, first: int, mask: jax.Array | None, count: int
) -> tuple[jax.Array, jax.Array]:
    """The best `count` of `best` (scores and rows) and of a tile's `scores`, which start at row `start`; from `first` on.

    Rows that may not be returned have score -inf and number -1.
    """
    rows = start + jnp.arange(scores.shape[1], dtype=jnp.int32)
    allowed = (rows >= first)[None, :]
    if mask is not None:
        allowed = allowed & (mask if mask.ndim == 2 else mask[None, :])
    found, chosen = largest(jnp.where(allowed, scores, -jnp.inf), min(count, scores.shape[1]))
    ids = jnp.where(found == -jnp.inf, -1, rows[chosen])
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
