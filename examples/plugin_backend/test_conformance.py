"""Every promise of vjaccel's operations, held against this backend."""

from vjaccel.arrays.testing import BackendConformance


class TestFaiss(BackendConformance):
    spec = "faiss"
