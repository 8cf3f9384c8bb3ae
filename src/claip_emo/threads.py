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

Found = TypeVar("Found")

OF_THE_ENVIRONMENT = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")

_chosen: int | None = None
_here = threading.local()  # whether this thread does a job of ``together``


class _Limit:
    """How many are inside ``one_for_each_product``, and what BLAS had before the first."""

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.former: list[int] = []


_limit = _Limit()


def use(threads: int) -> None:
    """Compute with so many threads from now on; ``tell_torch`` where it is imported later."""
    global _chosen
    _chosen = threads
    _let_blas_have([threads] * len(_blas()))
    tell_torch()


def tell_torch() -> None:
    """Let torch compute with as many threads as were chosen, if it is there."""
    set_threads = getattr(sys.modules.get("torch"), "set_num_threads", None)
    if _chosen is not None and set_threads is not None:
        set_threads(_chosen)


def in_use() -> int:
    """Return with how many threads is computed: chosen, torch's, environment's, or one a core."""
    if _chosen is not None:
        return _chosen
    torchs = getattr(sys.modules.get("torch"), "get_num_threads", None)
    if torchs is not None:
        threads: int = torchs()
        return threads
    for name in OF_THE_ENVIRONMENT:
        if (value := os.environ.get(name, "")).isdigit() and int(value) > 0:
            return int(value)
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def together(jobs: Sequence[Callable[[], Found]]) -> list[Found]:
    """Do jobs of NumPy at once, with as many threads as are in use; return what they return.

    What fails first is raised, and what has not begun by then is not done. Jobs of a job are done
    one after the other.
    """
    workers = min(in_use(), len(jobs))
    if workers < 2 or getattr(_here, "busy", False):
        return [_done(job) for job in jobs]
    futures = [_pool(in_use(), os.getpid()).submit(_done, job) for job in jobs]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()


def _done(job: Callable[[], Found]) -> Found:
    former, _here.busy = getattr(_here, "busy", False), True
    try:
        with one_for_each_product():
            return job()
    finally:
        _here.busy = former


@contextmanager
def one_for_each_product() -> Iterator[None]:
    """Let every product of matrices have one thread while anybody is inside.

    OpenBLAS's own threads wait for each other at every product, which takes ten times as long
    where others compute on the same cores.
    """
    limit, counted = _limit, False
    try:
        with limit.lock:
            limit.inside += 1
            counted = True
            if limit.inside == 1:
                limit.former = [library.get_num_threads() for library in _blas()]
                _let_blas_have([1] * len(limit.former))
        yield
    finally:
        if counted:
            with limit.lock:
                limit.inside -= 1
                if limit.inside == 0:
                    _let_blas_have(limit.former)


@cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """Return the threads of a process, which stay: new ones would each keep memory of their own."""
    return ThreadPoolExecutor(workers, thread_name_prefix="claip-emo-numpy")


@cache
def _blas() -> list[Any]:
    """Find the BLAS of NumPy, which is loaded before anybody computes with it.

    Without threadpoolctl, which a runtime without torch may lack, none is found: it computes with
    as many threads as it takes by itself.
    """
    import numpy  # noqa: F401 - with it comes its BLAS

    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return []
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _let_blas_have(threads: list[int]) -> None:
    """Set the threads of each BLAS.

    ``threadpool_limits`` lets only the thread do it that did it first; here a lock and a count see
    to it that threads do not fight over it.
    """
    for library, count in zip(_blas(), threads, strict=False):
        getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


def _forget() -> None:
    """Begin anew in a forked process: nobody is inside there, whoever held the lock."""
    global _limit, _here
    _limit, _here = _Limit(), threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
