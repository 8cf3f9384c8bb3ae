"""Processes that read files, so that one which crashes its decoder takes nothing else along."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from claip_emo.inference.reading_jobs import (
    WorkerLostError,
    WorkerRefusedError,
    WorkerTimeError,
    unexpected,
)
from claip_emo.inference.reading_setup import Setup, environment
from claip_emo.inference.wire import WireError, pack, unpack

READING = "claip_emo.inference.reading_process"
LARGEST_MESSAGE = 2**30  # bytes
STARTS_WITHIN_S = 60.0


class Worker:
    """One process. It starts at once; whoever asks first waits until it is there.

    Args:
        setup: how it reads.
        module: what runs in it.
        box: a folder of its own, the only one that it may read; None: it may read any.

    Attributes:
        box: that folder.
    """

    def __init__(self, setup: Setup, module: str = READING, box: Path | None = None):
        """Start it.

        Raises:
            WorkerLostError: if it cannot be started.
        """
        self.box = box
        self._starting, self._there = threading.Lock(), False
        self._late = self._over = False
        told = pack(asdict(replace(setup, box=None if box is None else str(box))))
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        try:
            self._process = self._started(theirs, module)
        except OSError as error:
            self._connection.close()
            raise WorkerLostError(f"a process that reads files cannot start ({error})") from error
        try:
            self._connection.send_bytes(told)
        except OSError as error:
            self.close()
            raise WorkerLostError(f"a process that reads files cannot start ({error})") from error

    @staticmethod
    def _started(theirs: socket.socket, module: str) -> subprocess.Popen[bytes]:
        with theirs:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if os.environ.get("CLAIP_EMO_DEBUG") else subprocess.DEVNULL,
                env=environment(),
                start_new_session=True,  # an interrupt of the terminal is the parent's business
            )

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
        if self.box is not None:
            shutil.rmtree(self.box, ignore_errors=True)

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
        ended = f"exit code {code}"
        if code < 0:  # by a signal, which has a name unless it is one of real time
            known = {number.value: number.name for number in signal.Signals}
            ended = known.get(-code, f"signal {-code}")
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
        boxes: folder in which each has one of its own; None: they may read any file.
    """

    def __init__(self, setup: Setup, count: int, module: str = READING, boxes: Path | None = None):
        """Start them.

        Raises:
            WorkerLostError: if they cannot be started.
        """
        self.count, self._setup, self._module, self._boxes = count, setup, module, boxes
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
            try:
                if not worker.usable:  # started now rather than when it is needed
                    worker = self._replaced(worker)
            except WorkerLostError:
                pass  # they are closed, or there is no room for one: who comes next tries again
            finally:
                self._free.put(worker)

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        with self._lock:
            return [worker.pid for worker in self._all]

    def wait(self) -> None:
        """Return when one of them is there.

        Raises:
            WorkerLostError: if it cannot start.
        """
        with self.borrowed() as worker:
            worker.wait()

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
            box = None
            try:
                box = None if self._boxes is None else Path(tempfile.mkdtemp(dir=self._boxes))
                worker = Worker(self._setup, self._module, box)
            except (OSError, WorkerLostError) as error:
                if box is not None:
                    shutil.rmtree(box, ignore_errors=True)
                raise WorkerLostError(f"no process that reads files starts ({error})") from error
            self._all.add(worker)
            return worker

    def _replaced(self, worker: Worker) -> Worker:
        with self._lock:
            known = worker in self._all
            self._all.discard(worker)
        if known:
            worker.close()
        return self._started()
