"""How much memory the first GPU has, as its driver tells this process: a part of the device has less than nvidia-smi shows."""

from __future__ import annotations

import gc
import sys
from typing import Any

__all__ = ["memory"]


def memory() -> tuple[int, int]:
    """Bytes that are free, when the libraries have given back what they keep for later, and all."""
    gc.collect()
    libraries: dict[str, Any] = dict(sys.modules)
    if "cupy" in libraries:
        libraries["cupy"].get_default_memory_pool().free_all_blocks()
    try:
        import torch

        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
    except ImportError:
        import cupy

        free, total = cupy.cuda.Device().mem_info
    return int(free), int(total)


if __name__ == "__main__":
    print(memory()[1])
