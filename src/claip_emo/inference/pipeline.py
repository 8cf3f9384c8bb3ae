"""Reading many files in the background: ahead, in order, and never more of them than fit.

What is scored on the CPU takes all of its cores, so that reading pauses meanwhile; beside a GPU it
goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.clip import Clip
from claip_emo.media.faces import FaceDetector, turned_faces

MOST_READERS = 8  # each keeps two cores busy, and some frames

Key = TypeVar("Key")
Item = TypeVar("Item")
Loaded = tuple[Key, Clip | Exception]
"""What was asked for, and the clip, or why there is none."""


class AbandonedError(Exception):
    """Nobody waits for what is being read."""


class Pace:
    """Lets the threads that read go on, pause, or end."""

    def __init__(self) -> None:
        """Begin with all of them going on."""
        self._going = threading.Event()
        self._going.set()
        self._ended = False
        self._lock = threading.Lock()
        self._calls: list[Callable[[], None]] = []

    def wait(self) -> None:
        """Return at once, or when a pause is over.

        Raises:
            AbandonedError: if reading has ended.
        """
        self._going.wait()
        if self._ended:
            raise AbandonedError

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let all of them pause."""
        self._going.clear()
        try:
            yield
        finally:
            self._going.set()

    @contextmanager
    def ended_by(self, call: Callable[[], None]) -> Iterator[None]:
        """Do what does not look at the pace, and would be ended by a call.

        Raises:
            AbandonedError: if reading has ended.
        """
        with self._lock:
            if self._ended:
                raise AbandonedError
            self._calls.append(call)
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(call)

    def end(self) -> None:
        """Let all of them end."""
        with self._lock:
            self._ended = True
            for call in self._calls:
                call()
        self._going.set()


class PacedDetector:
    """A face detector that keeps a pace: between two frames reading can pause or end."""

    def __init__(self, detector: FaceDetector, pace: Pace):
        """Wrap a detector."""
        self.name = detector.name
        self._detector = detector
        self._pace = pace

    def detect(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the faces of a picture, (face, 5)."""
        self._pace.wait()
        return self._detector.detect(frame)

    def detect_turned(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the faces of a picture and how far they are turned, (face, 6)."""
        self._pace.wait()
        return turned_faces(self._detector, frame)


class Failing(Iterator[Item]):
    """Ends where the next item cannot be had, so that what was taken before is finished first.

    Args:
        items: where they come from.

    Attributes:
        error: what was raised instead of the next item; for who has finished the others to raise.
    """

    def __init__(self, items: Iterable[Item]):
        """Take none yet."""
        self.error: Exception | None = None
        self._items = iter(items)

    def __next__(self) -> Item:
        """Return the next item."""
        if self.error is not None:
            raise StopIteration
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise StopIteration from None


def read_ahead(
    load: Callable[[Key], Clip], keys: Iterable[Key], pace: Pace, *, readers: int, most: int
) -> Iterator[Loaded[Key]]:
    """Load clips in threads of their own.

    Closing the iterator ends the threads: what waits is not begun, what runs ends when it next
    looks at the pace.

    Args:
        load: reads one clip.
        keys: what is to be loaded; taken from only as far ahead as there is room.
        pace: of the threads.
        readers: number of threads.
        most: clips that are being read, or were read and not yet taken.

    Yields:
        Each key with its clip or with the exception that loading it raised, in the order of keys.
    """
    waiting: deque[tuple[Key, Future[Clip]]] = deque()
    with ThreadPoolExecutor(readers, "claip-emo-reader") as pool:
        try:
            for key in keys:
                waiting.append((key, pool.submit(load, key)))
                if len(waiting) == most:
                    yield _outcome(*waiting.popleft())
            while waiting:
                yield _outcome(*waiting.popleft())
        finally:
            pace.end()
            for _, later in waiting:
                later.cancel()


def batches(
    loaded: Iterable[Loaded[Key]], num_frames: int, batch_size: int
) -> Iterator[list[Loaded[Key]]]:
    """Gather what was loaded into batches of about equal work.

    Args:
        loaded: keys with their clips or exceptions.
        num_frames: frames of a view.
        batch_size: views whose frames, where all differ, make a batch; a clip of more is a batch.

    Yields:
        Neighbours in their order: as many as fit.
    """
    most = batch_size * num_frames
    batch: list[Loaded[Key]] = []
    frames = 0
    for key, found in loaded:
        more = work(found, num_frames) if isinstance(found, Clip) else num_frames
        if batch and frames + more > most:
            yield batch
            batch, frames = [], 0
        batch.append((key, found))
        frames += more
        if frames >= most:
            yield batch
            batch, frames = [], 0
    if batch:
        yield batch


def work(clip: Clip, num_frames: int) -> int:
    """Return how many frames a clip costs: the distinct ones, or a view's for each sound."""
    seen = 0 if clip.frame_times_s is None else len(np.unique(clip.frame_times_s))
    return max(seen, num_frames * len(set(clip.audio_spans_s)))


def _outcome(key: Key, future: Future[Clip]) -> Loaded[Key]:
    try:
        return key, future.result()
    except Exception as error:
        return key, error
