"""JAX on the CPU and on GPUs, compiled. Importing this does not import JAX."""

from vjaccel_jax.backend import JaxBackend

__all__ = ["JaxBackend"]
