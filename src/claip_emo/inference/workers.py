"""Processes that read files, so that one which crashes its decoder takes nothing else along."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from claip_emo.inference.predictor import Predictor
from claip_emo.inference.reader import FRAMES_AHEAD, Reader
from claip_emo.inference.reading_jobs import (
    WorkerLostError,
    WorkerRefusedError,
    WorkerTimeError,
    clip_job,
    unexpected,
)
from claip_emo.inference.wire import WireError, pack, unpack
from claip_emo.media.clip import Clip
from claip_emo.model.description import Modality

READING = "claip_emo.inference.reading_process"
LARGEST_MESSAGE = 2**30  # bytes
STARTS_WITHIN_S = 60.0
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Setup:
    """How processes read.

    Attributes:
        settings: what the towers want to see.
        reads: the modality of the model.
        face_detector: what finds faces.
        face_model: YuNet's model file.
        frames_ahead: decoded while faces are sought in those before; 0: several read at once.
        config: of the model, what scores of timelines follow from.
        widths: of its towers.
        limits: what ``begin`` of the process makes of them.
    """

    settings: Mapping[str, Any]
    reads: Modality
    face_detector: str
    face_model: str | None
    frames_ahead: int
    config: Mapping[str, Any]
    widths: Mapping[str, int]
    limits: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, predictor: Predictor, reader: Reader, count: int, limits: Mapping[str, Any] | None
    ) -> Setup:
        """Describe how files are read for a model by so many processes."""
        config = predictor.config
        told = ("labels", "modality", "num_frames", "temperature", "logit_shift", "abstain_below")
        model = reader.face_model
        return cls(
            settings=asdict(reader.settings),
            reads=reader.reads,
            face_detector=reader.detector.name if reader.detector is not None else "none",
            face_model=str(model.absolute()) if model is not None else None,
            frames_ahead=FRAMES_AHEAD if count == 1 else 0,
            config={name: getattr(config, name) for name in told},
            widths=dict(predictor.widths),
            limits=limits or {},
        )


class Worker:
    """One process. It starts at once; whoever asks first waits until it is there.

    Args:
        setup: how it reads.
        module: what runs in it.
    """

    def __init__(self, setup: Setup, module: str = READING):
        """Start it."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if os.environ.get("CLAIP_EMO_DEBUG") else subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # an interrupt of the terminal is the parent's business
            )
        self._connection = Connection(ours.detach())
        self._connection.send_bytes(pack(asdict(setup)))
        self._starting, self._there = threading.Lock(), False
        self._late = self._over = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def wait(self) -> None:
        """Return when it is there.

        Raises:
            WorkerLostError: if it says something else, or nothing.
        """
        with self._starting:
            if self._there:
                return
            with self._no_longer_than(STARTS_WITHIN_S):
                said = self._receive()
            if "ready" not in said:
                self.kill()
                why = said.get("failed")
                raise WorkerLostError(f"A process that reads files cannot start: {why}")
            self._there = True

    @property
    def usable(self) -> bool:
        """Whether it takes another job."""
        return not self._over and self._process.poll() is None

    def ask(
        self,
        job: Mapping[str, Any],
        timeout_s: float | None = None,
        answer: Callable[[Mapping[str, Any]], Any] = unexpected,
    ) -> Any:
        """Let it do a job; return what comes of it.

        Args:
            job: what to do.
            timeout_s: after which it is ended; None: never.
            answer: is given what it says meanwhile, and returns what it is told; None: nothing.

        Raises:
            WorkerRefusedError: if the file is not read.
            WorkerTimeError: if it takes too long.
            WorkerLostError: if the process is gone.
        """
        try:
            self.wait()
            with self._no_longer_than(timeout_s):
                self._send(job)
                while True:
                    said = self._receive()
                    if "done" in said:
                        return said["done"]
                    if "failed" in said:
                        self._over = said.get("last", False)
                        raise WorkerRefusedError(said["failed"], said.get("kind", "MediaError"))
                    if (told := answer(said)) is not None:
                        self._send(told)
        except WorkerRefusedError:
            raise
        except BaseException:  # it waits for an answer that nobody will give
            self.kill()
            raise

    def kill(self) -> None:
        """End it now."""
        self._over = True
        self._process.kill()

    def close(self) -> None:
        """End it, and wait until it is gone."""
        self.kill()
        self._connection.close()
        self._process.wait()

    def _send(self, message: Any) -> None:
        try:
            self._connection.send_bytes(pack(message))
        except OSError as error:
            raise self._lost() from error

    def _receive(self) -> Mapping[str, Any]:
        try:
            said = unpack(self._connection.recv_bytes(LARGEST_MESSAGE))
        except (EOFError, OSError, WireError) as error:
            raise self._lost() from error
        if not isinstance(said, Mapping):
            raise self._lost()
        return said

    def _lost(self) -> WorkerLostError:
        """Return why it is gone."""
        if self._late:
            return WorkerTimeError("it took longer than it may")
        self.kill()
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return WorkerTimeError("it took more computing than it may")
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return WorkerLostError(f"the process that read it ended ({ended})")

    @contextmanager
    def _no_longer_than(self, timeout_s: float | None) -> Iterator[None]:
        """End the process if what is done takes longer."""
        if timeout_s is None:
            yield
            return
        timer = threading.Timer(timeout_s, self._end_late)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end_late(self) -> None:
        self._late = True
        self.kill()


class Workers:
    """Several processes, each replaced where it is gone.

    Args:
        setup: how they read.
        count: of them.
        module: what runs in them.
    """

    def __init__(self, setup: Setup, count: int, module: str = READING):
        """Start them."""
        self.count, self._setup, self._module = count, setup, module
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()  # those used last are warm
        self._lock, self._closed = threading.Lock(), False
        self._all: set[Worker] = set()
        for _ in range(count):
            self._free.put(self._started())

    @contextmanager
    def borrowed(self) -> Iterator[Worker]:
        """Yield one that nobody else uses; waits for it.

        Raises:
            WorkerLostError: if they are closed.
        """
        worker = self._free.get()
        try:
            if not worker.usable:  # it died while nobody used it
                worker = self._replaced(worker)
            yield worker
        finally:
            with suppress(WorkerLostError):  # they are closed: who comes next is told so
                if not worker.usable:  # started now rather than when it is needed
                    worker = self._replaced(worker)
            self._free.put(worker)

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        with self._lock:
            return [worker.pid for worker in self._all]

    def wait(self) -> None:
        """Return when all of them are there.

        Raises:
            WorkerLostError: if one cannot start.
        """
        with self._lock:
            every = list(self._all)
        for worker in every:
            worker.wait()

    def load(
        self,
        path: str | Path,
        mask: Modality,
        timeout_s: float | None = None,
        audio: str | Path | None = None,
    ) -> Clip:
        """Read what the towers need from a file, in one of the processes.

        Raises:
            WorkerRefusedError: if it yields nothing.
            WorkerLostError: if the process is gone.
        """
        with self.borrowed() as worker:
            return worker.ask(clip_job(path, mask, audio), timeout_s)

    def close(self) -> None:
        """End all of them, also those that are at work."""
        with self._lock:
            self._closed, every = True, list(self._all)
            self._all.clear()
        for worker in every:
            worker.close()

    def _started(self) -> Worker:
        with self._lock:
            if self._closed:
                raise WorkerLostError("the processes that read files were ended")
            worker = Worker(self._setup, self._module)
            self._all.add(worker)
            return worker

    def _replaced(self, worker: Worker) -> Worker:
        with self._lock:
            known = worker in self._all
            self._all.discard(worker)
        if known:
            worker.close()
        return self._started()
