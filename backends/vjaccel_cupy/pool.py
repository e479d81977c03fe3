"""One pool of a GPU's memory where torch is in use too: what one has freed is otherwise kept from the other."""

from __future__ import annotations

import sys
import threading

__all__ = ["share_with_torch"]

_lock = threading.Lock()


def share_with_torch() -> bool:
    """Let CuPy take its memory from torch's pool from now on, and say whether it does.

    It does where torch was imported and has a GPU in use. CuPy's memory from before stays where it is, and an allocator that
    the user chose stays chosen.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return False
    import cupy

    def allocate(size: int, device: int) -> int:
        # On CuPy's own stream, for which torch keeps what is freed until that is done with it.
        pointer: int = torch.cuda.caching_allocator_alloc(max(size, 1), device, cupy.cuda.get_current_stream().ptr)
        return pointer

    def free(pointer: int, device: int) -> None:
        torch.cuda.caching_allocator_delete(pointer)

    with _lock:
        if cupy.cuda.get_allocator() != cupy.get_default_memory_pool().malloc:
            return False
        cupy.cuda.set_allocator(cupy.cuda.PythonFunctionAllocator(allocate, free).malloc)
        return True
