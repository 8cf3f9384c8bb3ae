"""Uploads go through processes that can do little else, and through threads that wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from claip_emo.inference.pipeline import Pace
from claip_emo.inference.reading_jobs import WorkerLostError, WorkerRefusedError, WorkerTimeError
from claip_emo.inference.reading_setup import Setup
from claip_emo.inference.recognizer import EmotionRecognizer
from claip_emo.inference.workers import Worker, Workers
from claip_emo.serving import landlock
from claip_emo.serving.limits import Limits
from claip_emo.serving.metrics import Metrics
from claip_emo.serving.problems import ProblemError
from claip_emo.serving.sandbox import MODULE

logger = logging.getLogger(__name__)

REFUSED = {"TooLargeError": "too_large", "MediaError": "unreadable"}
LOOKS_EVERY_S = 0.01
AGAIN_S = 1.0  # until a start that failed is tried again
Found = TypeVar("Found")


class Decoding:
    """Processes that decode uploads.

    Args:
        recognizer: whose model they read for.
        limits: of what they do.
        boxes: folder in which each has its own: a process reads the file that it is given, and no
            other one's.
        metrics: where lost ones are counted.

    Attributes:
        started: whether one of them has been there.
    """

    def __init__(
        self, recognizer: EmotionRecognizer, limits: Limits, boxes: Path, metrics: Metrics
    ):
        """Start them.

        Raises:
            WorkerLostError: if they cannot be started.
        """
        self.started, self._closed, self._metrics = False, threading.Event(), metrics
        warn_without_landlock()
        setup = Setup.of(recognizer.predictor, recognizer.reader, limits.workers, asdict(limits))
        self._workers = Workers(setup, limits.workers, MODULE, boxes)
        self._threads = ThreadPoolExecutor(limits.workers, "claip-emo-upload")
        threading.Thread(target=self._wait, name="claip-emo-start", daemon=True).start()

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return self._workers.pids

    async def do(
        self, path: Path, work: Callable[[Worker, Path], Found], kind: type[Found]
    ) -> Found:
        """Let a process do something with a file; who is cancelled ends it.

        Args:
            path: of the file, which is where it was afterwards.
            work: is given the process, and where the file lies for it.
            kind: of what comes of it; anything else is not taken from a process.

        Raises:
            ProblemError: if nothing comes of it.
        """
        pace = Pace()

        def run() -> Found:
            with self._workers.borrowed() as worker, pace.ended_by(worker.kill):
                with _in_its_box(worker, path) as inside:
                    found = work(worker, inside)
                if not isinstance(found, kind):
                    worker.kill()
                    raise WorkerLostError("it answered something else than was asked for")
                return found

        future = self._threads.submit(run)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            pace.end()
            while not future.done():  # soon, and then the file is where it was
                await asyncio.sleep(LOOKS_EVERY_S)
            raise
        except WorkerRefusedError as error:
            code = REFUSED.get(str(error.kind), "unreadable")
            raise ProblemError(code, told(str(error), path)) from error
        except WorkerTimeError as error:
            self._metrics.lost.inc()
            raise ProblemError("over_time", "Reading this file takes too long.") from error
        except WorkerLostError as error:
            self._metrics.lost.inc()
            logger.warning("A process that read an upload was lost: %s", error)
            raise ProblemError(
                "worker_lost", "The process that read this file ended; the file may be damaged."
            ) from error

    def close(self) -> None:
        """End them, and the threads that wait for them."""
        self._closed.set()
        self._workers.close()
        self._threads.shutdown()

    def _wait(self) -> None:
        """Note when one has been there; one that is lost before is replaced."""
        while not self._closed.is_set():
            try:
                self._workers.wait()
                self.started = True
                return
            except WorkerLostError as error:
                if not self._closed.is_set():
                    logger.warning("%s", error)
                self._closed.wait(AGAIN_S)


@contextmanager
def _in_its_box(worker: Worker, path: Path) -> Iterator[Path]:
    """Lay a file into the folder that a process may read, and take it back."""
    assert worker.box is not None
    inside = worker.box / path.name
    path.rename(inside)
    try:
        yield inside
    finally:
        with contextlib.suppress(FileNotFoundError):  # the process was lost, and its box with it
            inside.rename(path)


def warn_without_landlock() -> None:
    """Say so where processes cannot give up other files than the upload."""
    if landlock.version() < 1:
        logger.warning(
            "This kernel offers no Landlock: a process that decodes uploads may read what the "
            "server's user may. Linux 5.13 or newer with landlock among the modules in "
            "/sys/kernel/security/lsm has it."
        )


def told(words: str, path: Path) -> str:
    """Return words about a file as they may leave the server: without the place where it lay."""
    place = rf"\S*{re.escape(path.name)}"
    return re.sub(place, "the file", re.sub(f"{place}: ", "", words))
