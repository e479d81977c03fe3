"""Where a corpus is kept: on one device, cut over several, or on the host."""

from __future__ import annotations

import numpy as np

from vjaccel.arrays import check
from vjaccel.arrays.dispatch import at_work, home_of
from vjaccel.arrays.held import Held, Resident, Way
from vjaccel.arrays.protocol import Array, Backend, Metric
from vjaccel.arrays.shards import Shards, spans
from vjaccel.arrays.streams import Streamed
from vjaccel.errors import InvalidInput, NotSupported

__all__ = ["placed"]


def placed(
    vectors: object,
    backend: Backend,
    metric: Metric,
    way: Way,
    *,
    named: bool,
    resident: bool | None,
) -> tuple[Array, Held | None]:
    """No rows of `vectors` on `backend`, which have a corpus' width and dtype; and all of them as they are held, if any.

    Parameters
    ----------
    named : bool
        Whether a person named the backend, so that rows may be moved between devices.
    resident : bool or None
        False: on the host; True: on the device or an error; None: on the device if they fit.

    Raises
    ------
    InvalidInput, InvalidType, NotSupported
        As `Corpus`.
    """
    on_host = home_of(vectors) is None
    if backend.members:
        whole = check.shaped("vectors", vectors, single=False)
        return _cut(vectors if isinstance(vectors, np.memmap) else whole, backend, metric, way, named, resident)
    if way.sketch is None and on_host and (resident is False or (resident is None and _left_on_disk(vectors, backend))):
        return _streamed(vectors, backend, metric, way)
    if resident is False and way.sketch is not None:
        raise NotSupported(f"a corpus that stays on the host has no sketch {way.sketch!r}; leave one of the two out")
    try:
        return _resident(vectors, backend, metric, way)
    except Exception as exc:
        if resident or way.sketch is not None or not on_host or not backend.is_out_of_memory(exc):
            raise
    return _streamed(vectors, backend, metric, way)


def _resident(vectors: object, backend: Backend, metric: Metric, way: Way) -> tuple[Array, Held | None]:
    array, _ = check.vectors("vectors", vectors, backend, single=False)
    if not array.shape[0]:
        return array, None
    with at_work(backend):
        return array[:0, :], Resident.of(backend, array, metric, way)


def _streamed(vectors: object, backend: Backend, metric: Metric, way: Way) -> tuple[Array, Held | None]:
    host = check.shaped("vectors", vectors, single=False)
    none, _ = check.vectors("vectors", host[:0, :], backend, single=False)
    itemsize = 8 if "float64" in str(none.dtype) else 4
    return none, Streamed(backend, host, metric, way, itemsize) if len(host) else None


def _left_on_disk(vectors: object, backend: Backend) -> bool:
    """Whether `vectors` is a file that using them would copy into the host's own memory."""
    if not isinstance(vectors, np.memmap) or backend.device.partition(":")[0] != "cpu" or not vectors.size:
        return False
    one = vectors[:1]
    array, _ = check.vectors("vectors", one, backend)
    return not np.may_share_memory(np.asarray(array), one)


def _cut(
    whole: Array,
    backend: Backend,
    metric: Metric,
    way: Way,
    named: bool,
    resident: bool | None,
) -> tuple[Array, Held | None]:
    members = {member.device: member for member in backend.members}
    lying = backend.shards(whole)
    home = home_of(whole)
    if lying is None and not named and home is not None and home[1] == backend.device:
        raise InvalidInput(
            "vectors are sharded over devices, and not by rows alone: shard them by rows, or name the backend, "
            f"backend='{backend.name}:{backend.device}', to have them moved"
        )
    none, _ = check.vectors("vectors", whole[:0, :], backend, single=False)
    if not whole.shape[0]:
        return none, None
    as_it_lies = lying is not None and all(device in members for device, _ in lying)
    if lying is not None and as_it_lies:
        pieces = [(members[device], rows) for device, rows in lying if rows.shape[0]]
    else:
        cuts = zip(backend.members, spans(whole.shape[0], len(members)), strict=False)
        pieces = [(member, whole[low:high, :]) for member, (low, high) in cuts]
    held = [
        (member, part)
        for member, rows in pieces
        if (part := placed(rows, member, metric, way, named=True, resident=resident)[1]) is not None
    ]
    if not all(part.resident for _, part in held) and resident is not False:
        # All of one kind: a change is made to every part, or refused by every part.
        del held
        return _cut(whole, backend, metric, way, named, False)
    given = whole if as_it_lies or (resident is False and home is None) else None
    return none, Shards(backend, metric, held, way, given)
