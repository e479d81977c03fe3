"""The whole suite in one class."""

from __future__ import annotations

from vjaccel.arrays.testing.changes import ChangeConformance
from vjaccel.arrays.testing.closest import ClosestConformance
from vjaccel.arrays.testing.coarse import CoarseConformance
from vjaccel.arrays.testing.contract import ContractConformance
from vjaccel.arrays.testing.pairs import PairConformance
from vjaccel.arrays.testing.quantize import QuantizeConformance
from vjaccel.arrays.testing.ranges import RangeConformance
from vjaccel.arrays.testing.search import SearchConformance
from vjaccel.arrays.testing.sketch import SketchConformance
from vjaccel.arrays.testing.streams import StreamConformance

__all__ = ["BackendConformance"]


class BackendConformance(
    ChangeConformance,
    ClosestConformance,
    CoarseConformance,
    ContractConformance,
    PairConformance,
    QuantizeConformance,
    RangeConformance,
    SketchConformance,
    SearchConformance,
    StreamConformance,
):
    """Every promise of the vector operations, held against a backend.

    A backend that is not usable here is skipped with its reason, unless the environment variable
    ``VJACCEL_REQUIRE_BACKENDS`` lists it: then that is a failure.

    Attributes
    ----------
    spec : str
        The backend, as in `vjaccel.get_backend`.

    Examples
    --------
    In a test module of the backend's own package:

    >>> class TestMine(BackendConformance):
    ...     spec = "mine"
    """
