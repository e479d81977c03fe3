"""NumPy on the CPU, with numba kernels: the default backend, and the fastest on a CPU.

Importing this imports neither numba nor a kernel: they are loaded, from the disk's cache, by the first call that needs one.
"""

from vjaccel_numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
