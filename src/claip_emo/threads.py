"""With how many threads NumPy's products and torch compute."""

from __future__ import annotations

import os
import sys

from threadpoolctl import ThreadpoolController, threadpool_limits


def use(threads: int) -> None:
    """Compute with so many threads from now on."""
    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def in_use() -> int:
    """Return with how many threads a product of matrices is computed."""
    if "torch" in sys.modules:
        threads: int = sys.modules["torch"].get_num_threads()
        return threads
    pools = ThreadpoolController().select(user_api="blas").info()
    return max((pool["num_threads"] for pool in pools), default=os.cpu_count() or 1)
