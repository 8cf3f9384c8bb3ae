"""With how many threads is computed, with torch and in NumPy."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Found = TypeVar("Found")

_chosen: int | None = None
_lock = threading.Lock()
_inside = 0
_limited: Any = None


def use(threads: int) -> None:
    """Compute with so many threads from now on; ``tell_torch`` where it is imported later."""
    global _chosen
    _chosen = threads
    tell_torch()


def tell_torch() -> None:
    """Let torch compute with as many threads as were chosen, if it is there."""
    set_threads = getattr(sys.modules.get("torch"), "set_num_threads", None)
    if _chosen is not None and set_threads is not None:
        set_threads(_chosen)


def in_use() -> int:
    """Return with how many threads is computed."""
    if _chosen is not None:
        return _chosen
    torchs = getattr(sys.modules.get("torch"), "get_num_threads", None)
    if torchs is not None:
        threads: int = torchs()
        return threads
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def together(jobs: Sequence[Callable[[], Found]]) -> list[Found]:
    """Do jobs of NumPy at once, with as many threads as are in use; return what they return.

    Products of matrices inside have one thread each, and so have those of anybody else meanwhile:
    OpenBLAS's own threads wait for each other at every product, which takes ten times as long
    where others compute on the same cores.
    """
    workers = min(in_use(), len(jobs))
    with _one_for_each_product():
        if workers < 2:
            return [job() for job in jobs]
        return list(_pool(in_use(), os.getpid()).map(lambda job: job(), jobs))


@cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """Return the threads of a process, which stay: new ones would each keep memory of their own."""
    return ThreadPoolExecutor(workers, thread_name_prefix="claip-emo-numpy")


@contextmanager
def _one_for_each_product() -> Iterator[None]:
    """Limit BLAS to one thread while anybody is inside."""
    global _inside, _limited
    with _lock:
        _inside += 1
        if _inside == 1:
            _limited = _blas().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limited.restore_original_limits()


@cache
def _blas() -> ThreadpoolController:
    """Find the BLAS of NumPy, which is loaded before anybody computes with it."""
    return ThreadpoolController()
