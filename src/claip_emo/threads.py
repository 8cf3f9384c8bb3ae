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

MOST_DECODERS = 16  # each has a frame of its own in hand; the decoder warns of more
OF_THE_ENVIRONMENT = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")

_chosen: int | None = None
_here = threading.local()  # whether this thread does a job of ``together``


class _Limit:
    """Lets libraries have one thread each while anybody is inside, and then what they had.

    Args:
        ask: returns how many threads each has.
        tell: sets them.
    """

    def __init__(self, ask: Callable[[], list[int]], tell: Callable[[list[int]], None]):
        self.lock, self.inside = threading.Lock(), 0
        self.former: list[int] = []
        self.ask, self.tell = ask, tell

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be inside."""
        counted = False
        try:
            with self.lock:
                self.inside += 1
                counted = True
                if self.inside == 1:
                    self.former = self.ask()
                    self.tell([1] * len(self.former))
            yield
        finally:
            if counted:
                with self.lock:
                    self.inside -= 1
                    if self.inside == 0:
                        self.tell(self.former)


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
    return cores()


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
    with _products.held():
        yield


@contextmanager
def one_for_each_picture() -> Iterator[None]:
    """Let decoders and OpenCV treat every picture with one thread while anybody is inside.

    Threads of their own help where one file is read. Where several are, they only wait for each
    other, OpenCV's in a loop that takes a quarter of all cycles.
    """
    with _pictures.held():
        yield


def for_each_picture() -> int:
    """Return with how many threads the pictures of a file are decoded: one a core, or one."""
    return 1 if _pictures.inside else min(cores(), MOST_DECODERS)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def _threads_of_opencv() -> list[int]:
    import cv2

    return [cv2.getNumThreads()]


def _let_opencv_have(threads: list[int]) -> None:
    import cv2

    for count in threads:
        cv2.setNumThreads(count)


def _limits() -> tuple[_Limit, _Limit]:
    """Return what holds products of matrices, and what holds pictures; nobody is inside."""
    products = _Limit(lambda: [library.get_num_threads() for library in _blas()], _let_blas_have)
    return products, _Limit(_threads_of_opencv, _let_opencv_have)


def _forget() -> None:
    """Begin anew in a forked process: nobody is inside there, whoever held the locks."""
    global _products, _pictures, _here
    (_products, _pictures), _here = _limits(), threading.local()


_products, _pictures = _limits()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
