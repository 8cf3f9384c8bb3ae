"""Preparing one clip: its files become rows of shards, in the processes that ``prepare`` starts."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from av.error import FFmpegError

from claip_emo.data.cache import JPEG, ClipCache, Half
from claip_emo.data.content import Content, changed
from claip_emo.data.shards import Claims, Shard
from claip_emo.media.decode import MediaError
from claip_emo.media.picture import Frame
from claip_emo.media.recording import crop_frames, hear
from claip_emo.media.source import Source, open_source
from claip_emo.threads import one_for_each_picture

SHARD_BYTES = 256 << 20  # a shard that is larger takes no further clip
SHARD_S = 20.0  # nor one that was begun so long ago: what is in no shard yet is lost with a kill
LOOK_AGAIN_S = 0.5  # whether other processes are done with the clips that they are at
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
PASSING = {
    *(errno.ENOENT, errno.EACCES, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR),
}  # what no content of a file makes a decoder say; a read error (EIO) may be either
NOTHING: dict[str, Any] = {
    **dict.fromkeys(("warnings", "checksums", "times_s", "starts", "lengths"), ()),
    **dict.fromkeys(("error", "face_rate", "start_s")),
    "duration_s": 0.0,
}


class Task(NamedTuple):
    """What is to be prepared of which clip, and what its files were when they were looked at."""

    content: Content
    path: Path
    audio_path: Path | None
    halves: tuple[Half, ...]

    @property
    def clip(self) -> str:
        """The digest by which it is found."""
        return self.content.digest


class _Stopped(Exception):  # noqa: N818  (no error: the others end as well)
    """The work is to end here."""


class Worker:
    """What a process that prepares clips has.

    Args:
        cache: where to, and what is taken of a clip.
        stop: an event: end with what is finished.
        done: a counter of clips.
        at_work: the number of the task that each process is at; -1: at none.
        number: of this process.
    """

    def __init__(self, cache: ClipCache, stop: Any, done: Any, at_work: Any, number: int):
        """Take what is shared with the other processes."""
        self.cache = cache
        self.stop = stop
        self._done = done
        self._at_work = at_work
        self._number = number
        self._claims = Claims(cache.folder)

    def make(self, chunk: Sequence[tuple[int, Task]]) -> tuple[set[str], dict[str, str], int]:
        """Prepare clips; return those in shards, those that failed, and the bytes of data.

        Clips that other runs are at come last, when these are done with them or died of them.
        """
        others = len(self._at_work) > 1
        with one_for_each_picture() if others else nullcontext():
            return self._make(chunk)

    def _make(self, chunk: Sequence[tuple[int, Task]]) -> tuple[set[str], dict[str, str], int]:
        made: set[str] = set()
        failed: dict[str, str] = {}
        nbytes, left = 0, dict(chunk)
        while left and not self.stop.is_set():
            before = len(left)
            shards = {half: Shard(shelf.folder, shelf.schema)
                      for half, shelf in self.cache.shelves.items()}  # fmt: skip
            try:
                self._fill(shards, left, made, failed)
                nbytes += sum(shard.nbytes for shard in shards.values())
                for shard in shards.values():
                    shard.close()
            finally:  # nobody waits for others while others may wait for it
                self._claims.release()
                self._at_work[self._number] = -1
            if len(left) == before:
                self.stop.wait(LOOK_AGAIN_S)
        return made - failed.keys(), failed, nbytes

    def _fill(
        self,
        shards: dict[Half, Shard],
        left: dict[int, Task],
        made: set[str],
        failed: dict[str, str],
    ) -> None:
        """Prepare clips until shards are full; what is done is taken from those that are left."""
        began = time.monotonic()
        for number, task in list(left.items()):
            if not self._claims.take(task.clip):
                continue
            self._at_work[self._number] = number
            if halves := self._lacking(task):
                try:
                    failed |= self._prepare(task._replace(halves=halves), shards)
                except _Stopped:
                    return
                made.add(task.clip)
            del left[number]
            with self._done.get_lock():
                self._done.value += 1
            full = sum(shard.nbytes for shard in shards.values()) >= SHARD_BYTES
            if full or self.stop.is_set() or time.monotonic() - began > SHARD_S:
                return

    def _lacking(self, task: Task) -> tuple[Half, ...]:
        """Return what is still to be prepared of a clip: another run may have been at it."""
        for half in task.halves:
            self.cache.shelves[half].refresh()
        return tuple(half for half in task.halves if task.clip not in self.cache.shelves[half])

    def _prepare(self, task: Task, shards: dict[Half, Shard]) -> dict[str, str]:
        """Add a row to each shard; return why there is none, where another time may go well."""
        makers = {"pictures": self._pictures, "sound": self._sound}
        rows: dict[Half, dict[str, Any]] = {}
        try:
            source = open_source(task.path, audio_path=task.audio_path)
            opened = source.warnings
            for half in task.halves:
                before = source.warnings
                rows[half] = makers[half](source, shards[half])
                own = [w for w in source.warnings if w in opened or w not in before]
                rows[half] |= {"warnings": own, "duration_s": float(source.duration_s)}
        except _Stopped:
            _rewind(task, shards)
            raise
        except (MediaError, FFmpegError) as error:
            _rewind(task, shards)
            why = str(error).removeprefix(f"{task.path}: ")
            if _passes(error):
                return {task.clip: f"{task.path}: {why}"}
            rows = {half: NOTHING | {"error": why} for half in task.halves}
        except Exception as error:
            _rewind(task, shards)
            if isinstance(error, OSError) and error.errno in FULL_DISK:
                raise
            return {task.clip: f"{task.path}: {type(error).__name__}: {error}"}
        # What a decoder complains of may be a disk that went away: can all of it be read?
        complains = any(row.get("error") or row["warnings"] for row in rows.values())
        if happened := changed((task.path, task.audio_path), task.content, read=complains):
            _rewind(task, shards)
            return {task.clip: f"{task.path}: {happened}; the same command tries it again."}
        path = os.fsencode(task.path).decode("utf-8", "replace")
        for half, row in rows.items():
            shards[half].add(NOTHING | {"clip": task.clip, "path": path} | row)
        return {}

    def _pictures(self, source: Source, shard: Shard) -> dict[str, Any]:
        store = JpegStore(shard, self.stop)
        rate = crop_frames(source, self.cache.spec, self.cache.detector, store)
        order = sorted(store.places)
        places = [store.places[index] for index in order]
        return {
            "times_s": source.times_s[order],
            "starts": [start for start, _, _ in places],
            "lengths": [length for _, length, _ in places],
            "checksums": [checksum for _, _, checksum in places],
            "face_rate": rate,
        }

    def _sound(self, source: Source, shard: Shard) -> dict[str, Any]:
        checksums: list[int] = []
        is_silent = True
        rate_hz = self.cache.spec.sampling_rate_hz
        for samples in hear(source, rate_hz):
            if self.stop.is_set():
                raise _Stopped
            is_silent &= not samples.any()
            for start in range(0, len(samples), rate_hz):  # a second of sound shares a checksum
                block = samples[start : start + rate_hz].astype("<i2")
                checksums.append(shard.append(block.data.cast("B"))[1])
        if is_silent:
            checksums.clear()
            shard.rewind()
        return {
            "checksums": checksums,
            "start_s": float(source.sound_s[0]) if source.sound_s is not None else None,
        }


class JpegStore:
    """Takes cropped frames as JPEG into a shard: place -> start, length and checksum."""

    def __init__(self, shard: Shard, stop: Any):
        """Take the shard, and the event that ends the work."""
        self.places: dict[int, tuple[int, int, int]] = {}
        self._shard = shard
        self._stop = stop

    def __setitem__(self, index: int, frame: Frame) -> None:
        """Encode a frame (S, S, 3)."""
        if self._stop.is_set():
            raise _Stopped
        encoded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), JPEG)[1]
        start, checksum = self._shard.append(encoded.data)
        self.places[index] = start, len(encoded), checksum

    def __len__(self) -> int:
        """Return how many frames there are."""
        return len(self.places)

    def clear(self) -> None:
        """Drop them."""
        self.places.clear()
        self._shard.rewind()


def _passes(error: BaseException | None) -> bool:
    """Whether an error is the machine's and not the file's: another time it may go well."""
    while error is not None:
        own = isinstance(error, OSError | MemoryError) and not isinstance(error, FFmpegError)
        if own or getattr(error, "errno", None) in PASSING:
            return True
        error = error.__cause__
    return False


def _rewind(task: Task, shards: dict[Half, Shard]) -> None:
    for half in task.halves:
        shards[half].rewind()


_worker: Worker  # of this process


def begin(cache: ClipCache, stop: Any, done: Any, at_work: Any, begun: Any) -> None:
    """Make this process one that prepares clips, for as long as its parent lives."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    with begun.get_lock():
        number = begun.value
        begun.value += 1
    _worker = Worker(cache, stop, done, at_work, number)


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def make(chunk: Sequence[tuple[int, Task]]) -> tuple[set[str], dict[str, str], int]:
    """Prepare clips in this process; see ``Worker.make``."""
    return _worker.make(chunk)
