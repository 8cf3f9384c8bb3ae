"""Preparing clips: many at once, each once, so that a kill loses seconds of work and no more."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from claip_emo.corpora.base import OnProgress, Sample
from claip_emo.data.cache import HALVES, ClipCache
from claip_emo.data.prepare_clip import Task, begin, make
from claip_emo.threads import cores

CLIPS_PER_SHARD = 16
LOOK_EVERY_S = 0.2  # at how far the processes are
DIED = (
    "the process that prepared it died: its file crashes the decoder, or there is too little memory"
)


@dataclass(slots=True)
class Prepared:
    """What preparing did.

    Attributes:
        clips: how many were asked for.
        made: how many of them were prepared now.
        failed: why clips cannot be read, by id; also those that failed before.
        nbytes: bytes of pictures and sound that were added.
        seconds: how long it took.
    """

    clips: int
    made: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    nbytes: int = 0
    seconds: float = 0.0


def prepare(
    cache: ClipCache,
    samples: Sequence[Sample],
    *,
    workers: int | None = None,
    looking: OnProgress | None = None,
    progress: OnProgress | None = None,
) -> Prepared:
    """Prepare what is not in the cache yet.

    Interrupted or killed, it goes on where it was; several may work on one cache at a time, and
    each clip is prepared by one of them.

    Args:
        cache: where to, and what is taken of a clip.
        samples: the clips.
        workers: processes; None: one per core that this process may use.
        looking: told how many clips were looked for, of how many.
        progress: told how many of those that are not there are prepared, of how many.

    Raises:
        OSError: if the disk is full.
        KeyboardInterrupt: when what was finished is stored.
    """
    began = time.perf_counter()
    cache.look(samples, looking)
    for shelf in cache.shelves.values():
        shelf.sweep()
    work = _Work(cache, workers or cores(), progress)
    for _ in HALVES:  # what has nothing of one half is read from the other
        work.do(_tasks(cache, samples, work.failed))
    failed = {sample.id: cache.problem(sample) for sample in samples}
    for sample in samples:
        failed[sample.id] = failed[sample.id] or work.failed.get(cache.digest(sample) or "")
    return Prepared(
        len(samples),
        len(work.made),
        {name: why for name, why in failed.items() if why is not None},
        work.nbytes,
        time.perf_counter() - began,
    )


def _tasks(cache: ClipCache, samples: Iterable[Sample], failed: dict[str, str]) -> list[Task]:
    """Return what is lacking, each clip once though several samples may hold it."""
    tasks = {
        content.digest: Task(content, sample.path, sample.audio_path, halves)
        for sample in samples
        if (halves := cache.lacks(sample))
        and (content := cache.content(sample)) is not None
        and content.digest not in failed
    }
    return list(tasks.values())


class _Work:
    """Tasks done by processes, one chunk of clips and one shard at a time."""

    def __init__(self, cache: ClipCache, workers: int, progress: OnProgress | None):
        self.made: set[str] = set()
        self.failed: dict[str, str] = {}  # by clip: what may go well the next time
        self.nbytes = 0
        self._cache = cache
        self._workers = workers
        self._progress = progress

    def do(self, tasks: Sequence[Task]) -> None:
        """Do tasks. A clip whose process dies is tried once more, alone."""
        context = _context()
        workers = min(self._workers, len(tasks))
        if not workers:
            return
        at_work = context.Array("l", [-1] * workers)
        try:
            self._pooled(tasks, workers, at_work, context)
        except BrokenProcessPool:
            self._refresh()
            suspects = [tasks[number] for number in at_work if number >= 0]
            if len(tasks) == 1 or not suspects:
                self.failed |= {task.clip: f"{task.path}: {DIED}." for task in tasks}
                return
            for task in suspects:
                self.do([task])
            shelves = self._cache.shelves
            rest = [t for t in tasks if any(t.clip not in shelves[half] for half in t.halves)]
            self.do([task for task in rest if task.clip not in self.failed])
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "Interrupted. What was prepared is kept, and the same command goes on."
            ) from None
        self._refresh()

    def _pooled(self, tasks: Sequence[Task], workers: int, at_work: Any, context: Any) -> None:
        stop, done = context.Event(), context.Value("l", 0)
        size = max(1, min(CLIPS_PER_SHARD, len(tasks) // workers))
        numbered = list(enumerate(tasks))
        pool = ProcessPoolExecutor(
            workers, context, begin, (self._cache, stop, done, at_work, context.Value("l", 0))
        )
        try:
            with _without_main():  # processes are started as work is submitted
                left = {
                    pool.submit(make, numbered[start : start + size])
                    for start in range(0, len(tasks), size)
                }
            while left:
                ended, left = wait(left, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    made, failed, nbytes = future.result()
                    self.made |= made
                    self.failed |= failed
                    self.nbytes += nbytes
                if self._progress is not None:
                    self._progress(done.value, len(tasks))
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _refresh(self) -> None:
        for shelf in self._cache.shelves.values():
            shelf.refresh()


def _context() -> Any:
    """Return how processes are started: as copies of a fresh one.

    A copy of this one might wait for ever for what its threads held: the decoder has several.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([make.__module__])
    return context


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep processes from running the caller's script again: it need not have a guard for that."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
