"""CuPy on CUDA or ROCm devices. Importing this does not import CuPy."""

from vjaccel_cupy.backend import CupyBackend

__all__ = ["CupyBackend"]
