"""How the C library hands out memory."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
KEPT_BYTES = 2**31 - 1
PAD_BYTES = 2**26
LARGEST_BYTES = 2**25  # glibc takes larger blocks from the kernel whatever is asked of it


def keep_freed_memory() -> bool:
    """Let the process keep the memory that it frees, for what it allocates next.

    Activations of a layer are as large as those of the layer before. By default glibc gives such
    blocks back to the kernel when they are freed, and every page of the next one is faulted in and
    cleared again: a tenth of a forward pass on the CPU. What a process holds at its peak does not
    grow by this; afterwards it holds it longer.

    Returns:
        Whether the C library was told; only glibc can be.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl
        return False
    asked = ((TRIM_THRESHOLD, KEPT_BYTES), (TOP_PAD, PAD_BYTES), (MMAP_THRESHOLD, LARGEST_BYTES))
    return all(mallopt(name, value) == 1 for name, value in asked)
