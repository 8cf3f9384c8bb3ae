"""A process that reads files for another one: ``python -m claip_emo.inference.reading_process FD``.

It answers jobs that come over a connection, one after the other. It has no model: what timelines
ask of one goes back over the connection. A file that crashes a decoder ends this process alone.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claip_emo.allocation import keep_freed_memory
from claip_emo.inference.abstention import Abstention
from claip_emo.inference.reader import Reader
from claip_emo.inference.result import explained
from claip_emo.inference.timeline import make_timeline
from claip_emo.inference.timeline_result import Timeline
from claip_emo.inference.wire import pack, unpack
from claip_emo.media.clip import Clip
from claip_emo.model.description import Described
from claip_emo.model.processor_settings import ProcessorSettings
from claip_emo.model.scoring import NO_FRAMES, Array

LOOKS_EVERY_S = 1.0  # whether its parent is there

Message = Mapping[str, Any]
Guard = Callable[[Message], AbstractContextManager[None]]
"""Watches over one job, which it is told."""


def serve(connection: Connection, begin: Callable[[Message], Guard] | None = None) -> None:
    """Answer jobs until the other side is gone.

    Args:
        connection: to who asks. The first message is how to read (``workers.Setup``).
        begin: is told it once all is loaded, and returns what guards each job; None: nothing does.
    """
    parent = os.getppid()
    setup = unpack(connection.recv_bytes())
    try:
        reading = _Reading(connection, setup)
        guard = begin(setup) if begin is not None else _unguarded
    except Exception as error:
        connection.send_bytes(pack({"failed": f"{type(error).__name__}: {error}"}))
        return
    # Not before: what is given up is given up by threads that are there, and those to come.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    connection.send_bytes(pack({"ready": os.getpid()}))
    while True:
        try:
            job = unpack(connection.recv_bytes())
        except EOFError:
            return
        try:
            with guard(job):
                answer = {"done": reading.do(job)}
        except MemoryError:  # nobody knows what it left undone
            failed = f"{job['path']}: reading it takes more memory than there is for it."
            connection.send_bytes(pack({"failed": failed, "last": True}))
            return
        except Exception as error:
            answer = {"failed": explained(job["path"], error), "kind": type(error).__name__}
        connection.send_bytes(pack(answer))


def _unguarded(_: Message) -> AbstractContextManager[None]:
    return nullcontext()


class _Reading:
    """Does the jobs."""

    def __init__(self, connection: Connection, setup: Message):
        self._connection, self._frames_ahead = connection, setup["frames_ahead"]
        settings = ProcessorSettings(**setup["settings"])
        self._reader = Reader(
            settings,
            setup["reads"],
            face_detector=setup["face_detector"],
            face_model=setup["face_model"],
        )
        self._model = _Model(connection, settings, setup["config"], setup["widths"])

    def do(self, job: Message) -> Clip | Timeline:
        """Return what is asked for."""
        if job["timeline"] is None:
            return self._clip(job)
        return self._timeline(job, job["timeline"])

    def _clip(self, job: Message) -> Clip:
        clip = self._reader.load(
            job["path"], job["mask"], frames_ahead=self._frames_ahead, audio=job["audio"]
        )
        self._reader.check(clip, job["path"])
        return clip

    def _timeline(self, job: Message, how: Message) -> Timeline:
        return make_timeline(
            self._model,
            self._reader,
            job["path"],
            job["mask"],
            window_s=how["window_s"],
            hop_s=how["hop_s"],
            faces=how["faces"],
            abstention=Abstention(how["limits"]),
            progress=self._tell,
        )

    def _tell(self, done_s: float, total_s: float) -> None:
        self._connection.send_bytes(pack({"progress": (done_s, total_s)}))


class _Model:
    """The parts of a model that another process has."""

    def __init__(
        self,
        connection: Connection,
        settings: ProcessorSettings,
        config: Message,
        widths: Mapping[Any, int],
    ):
        self._connection, self.settings, self.widths = connection, settings, widths
        self.config = Described(**config)

    def encode(
        self, frames: NDArray[np.uint8] = NO_FRAMES, sounds: Sequence[Array] = ()
    ) -> tuple[Array, Array]:
        """Turn crops and pieces of sound into features."""
        shown, heard = self._ask("encode", frames, tuple(sounds))
        return shown, heard

    def over_time(self, frames: Array) -> Array:
        """Turn features of frames (batch, time, video width) into (batch, video width)."""
        return self._ask("over_time", frames)

    def attention(self, frames: Array) -> Array | None:
        """Return how a temporal Transformer attends to each frame; None: there is none."""
        return self._ask("attention", frames)

    def fuse(self, video: Array, audio: Array) -> Array:
        """Turn features (batch, video width) and (batch, audio width) into logits."""
        return self._ask("fuse", video, audio)

    def _ask(self, part: str, *given: Any) -> Any:
        self._connection.send_bytes(pack({"ask": part, "given": given}))
        (told,) = unpack(self._connection.recv_bytes())
        return told


def connected(arguments: Sequence[str]) -> Connection:
    """Return the connection whose descriptor is the only argument."""
    keep_freed_memory()
    return Connection(int(arguments[0]))


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, also in the middle of a file."""
    while os.getppid() == parent:
        time.sleep(LOOKS_EVERY_S)
    os._exit(1)


if __name__ == "__main__":
    serve(connected(sys.argv[1:]))
