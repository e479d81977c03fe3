"""torch on the CPU and on CUDA or ROCm devices. Importing this does not import torch."""

from vjaccel_torch.backend import TorchBackend

__all__ = ["TorchBackend"]
