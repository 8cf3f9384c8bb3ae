"""Timing in interleaved rounds, peak memory of a process, one core."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of every round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle round."""
        return median(self.seconds)

    def to_dict(self, per: int = 1) -> dict[str, float]:
        """Return median and spread, in seconds per one of ``per``."""
        return {
            "median_s": self.median / per,
            "fastest_s": min(self.seconds) / per,
            "slowest_s": max(self.seconds) / per,
            "rounds": len(self.seconds),
        }


def interleaved(
    jobs: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: bool = True
) -> dict[str, Timing]:
    """Time each job once per round, in turn, so that a machine's moods meet all of them alike.

    Args:
        jobs: what is timed, by name.
        rounds: how often each is timed.
        warm_up: run each once before, untimed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(-1 if warm_up else 0, rounds):
        for name, job in jobs.items():
            begin = time.perf_counter()
            job()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - begin)
    return {name: Timing(tuple(found)) for name, found in seconds.items()}


def factors(slow: Timing, fast: Timing) -> dict[str, float]:
    """Return how many times faster: median, least and most over the rounds, pair by pair."""
    found = [s / f for s, f in zip(slow.seconds, fast.seconds, strict=True)]
    return {"median": median(found), "least": min(found), "most": max(found)}


def memory_mib(field: str) -> float:
    """Return a field of this process's memory in MiB: ``VmRSS`` (now) or ``VmHWM`` (its peak).

    ``ru_maxrss`` is not used: a child inherits its parent's.

    Raises:
        OSError: on a system without ``/proc``.
    """
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}.")


def forget_peak() -> float:
    """Start the peak of this process's memory anew; return what it holds now, in MiB."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")
    return memory_mib("VmRSS")


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one core; torch and OpenCV too."""
    import cv2
    import torch

    cores, threads, drawn = os.sched_getaffinity(0), torch.get_num_threads(), cv2.getNumThreads()
    try:
        os.sched_setaffinity(0, {min(cores)})
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
        cv2.setNumThreads(drawn)


def say(text: str) -> None:
    """Tell who waits how far it is; stdout is for the result."""
    print(text, file=sys.stderr, flush=True)
