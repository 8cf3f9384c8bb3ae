"""What a server does with an upload: decode it in a sandbox, score it, and forget it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from claip_emo.inference.reader import ModalityChoice
from claip_emo.inference.reading_jobs import (
    PARTS,
    WorkerLostError,
    WorkerRefusedError,
    WorkerTimeError,
    answering,
    clip_job,
    timeline_job,
)
from claip_emo.inference.recognizer import BATCH_SIZE, EmotionRecognizer
from claip_emo.inference.result import EmotionResult
from claip_emo.inference.timeline import FacesChoice
from claip_emo.inference.timeline_result import Timeline
from claip_emo.inference.workers import Setup, Worker, Workers
from claip_emo.media.clip import Clip
from claip_emo.serving.limits import Limits
from claip_emo.serving.metrics import Metrics
from claip_emo.serving.problems import ProblemError
from claip_emo.serving.sandbox import MODULE
from claip_emo.serving.scoring import Scoring

logger = logging.getLogger(__name__)

NAME = "clip"  # of every file: the one it came with is nobody's business, nor where it lay
REFUSED = {"TooLargeError": "too_large", "MediaError": "unreadable"}
Found = TypeVar("Found")


class Service:
    """A recogniser for uploads.

    Args:
        recognizer: with the model.
        limits: of what it does.

    Attributes:
        metrics: what was done.
        draining: whether it takes no more requests.
    """

    def __init__(self, recognizer: EmotionRecognizer, limits: Limits):
        """Start its processes and threads."""
        self.recognizer, self.limits, self.metrics = recognizer, limits, Metrics()
        self.draining = False
        self.folder = Path(tempfile.mkdtemp(prefix="claip-emo-"))
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._scoring = Scoring(recognizer, BATCH_SIZE, self.metrics.batches.observe)
        told = asdict(limits) | {"folder": str(self.folder)}
        setup = Setup.of(recognizer.predictor, recognizer.reader, limits.workers, told)
        self._workers = Workers(setup, limits.workers, MODULE)
        self._started = False
        threading.Thread(target=self._start, name="claip-emo-start", daemon=True).start()
        self._threads = ThreadPoolExecutor(limits.workers, "claip-emo-upload")

    @asynccontextmanager
    async def accepted(self) -> AsyncIterator[Path]:
        """Take a request, or refuse it; yield where its file belongs, which is removed afterwards.

        Raises:
            ProblemError: if there are too many, or the server ends.
        """
        if self.draining:
            raise ProblemError(
                "shutting_down", "This server ends; ask another one.", {"Connection": "close"}
            )
        if self._in_flight >= self.limits.workers + self.limits.waiting:
            raise ProblemError("busy", "Too many requests are waiting; come again.")
        self._in_flight += 1
        self._idle.clear()
        self.metrics.in_flight.set(self._in_flight)
        path = self.folder / uuid.uuid4().hex
        try:
            yield path
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)
            if self._in_flight == 0:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until no accepted request is left."""
        await self._idle.wait()

    @property
    def pids(self) -> list[int]:
        """Of the processes that decode uploads."""
        return self._workers.pids

    def ready(self) -> bool:
        """Say whether it takes requests."""
        return self._started and not self.draining

    def _start(self) -> None:
        try:
            self._workers.wait()
            self._started = True
        except WorkerLostError as error:
            if not self.draining:
                logger.error("%s", error)

    async def predict(self, path: Path, modality: ModalityChoice) -> EmotionResult:
        """Recognise the emotion in an upload.

        Raises:
            ProblemError: if that cannot be.
        """
        return await self._scored(await self._read(path, modality), modality, path)

    async def apart(self, path: Path) -> dict[ModalityChoice, EmotionResult]:
        """Recognise the emotion in an upload: from all of it, and from face and voice alone.

        Returns:
            ``av``, and of ``video`` and ``audio`` those that are there, if there are both.

        Raises:
            ProblemError: if that cannot be.
        """
        clip = await self._read(path, "av")
        alone: tuple[ModalityChoice, ...] = ("video", "audio")
        both = clip.has_video and clip.has_audio and self.recognizer.reader.reads == "av"
        asked: tuple[ModalityChoice, ...] = ("av", *(alone if both else ()))
        rows = [await self._scored(clip, modality, path) for modality in asked]
        return dict(zip(asked, rows, strict=True))

    async def _read(self, path: Path, modality: ModalityChoice) -> Clip:
        mask = self.recognizer.reader.mask(modality)
        begun = time.perf_counter()

        def read(worker: Worker) -> Clip:
            return worker.ask(clip_job(path, mask), self.limits.predict_s)

        clip = await self._in_sandbox(path, read)
        self.metrics.reading.observe(time.perf_counter() - begun)
        return clip

    async def _scored(self, clip: Clip, modality: ModalityChoice, path: Path) -> EmotionResult:
        begun = time.perf_counter()
        row = await asyncio.wrap_future(self._scoring.score(clip, modality))
        self.metrics.scoring.observe(time.perf_counter() - begun)
        if row.error is not None:
            logger.error("A clip could not be scored: %s", row.error)
            raise ProblemError("internal", "The model could not score this file.")
        words = tuple(said(text, path) for text in row.warnings)
        return replace(row, path=NAME, warnings=words)

    async def timeline(
        self,
        path: Path,
        modality: ModalityChoice,
        *,
        window_s: float,
        hop_s: float,
        faces: FacesChoice,
        tell: Callable[[float, float], None] | None = None,
    ) -> Timeline:
        """Find out who shows which emotion when in an upload; one that is cancelled ends at once.

        Raises:
            ProblemError: if that cannot be.
        """
        mask = self.recognizer.reader.mask(modality)
        limits = self.recognizer.abstention.limits
        job = timeline_job(path, mask, window_s=window_s, hop_s=hop_s, faces=faces, limits=limits)

        def make(worker: Worker) -> Timeline:
            parts = answering(_Parts(self.recognizer, self._scoring), tell)
            return worker.ask(job, self.limits.timeline_s, parts)

        found = await self._in_sandbox(path, make)
        words = tuple(said(text, path) for text in found.warnings)
        return replace(found, path=NAME, warnings=words)

    async def _in_sandbox(self, path: Path, work: Callable[[Worker], Found]) -> Found:
        """Let a process do something with a file, in a thread that waits for it."""
        begun: list[Worker] = []
        given_up = False

        def run() -> Found:
            with self._workers.borrowed() as worker:
                if given_up:
                    raise WorkerLostError("nobody waits for it any more")
                begun.append(worker)
                return work(worker)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except asyncio.CancelledError:
            given_up = True
            for worker in begun:
                worker.kill()
            raise
        except WorkerRefusedError as error:
            code = REFUSED.get(error.kind, "unreadable")
            raise ProblemError(code, said(str(error), path)) from error
        except WorkerTimeError as error:
            self.metrics.lost.inc()
            raise ProblemError("over_time", "Reading this file takes too long.") from error
        except WorkerLostError as error:
            self.metrics.lost.inc()
            logger.warning("A process that read an upload was lost: %s", error)
            raise ProblemError(
                "worker_lost", "The process that read this file ended; the file may be damaged."
            ) from error

    def close(self) -> None:
        """End processes and threads, and remove what was uploaded."""
        self.draining = True
        self._workers.close()
        self._threads.shutdown()
        self._scoring.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class _Parts:
    """The parts of the model, called in the thread that has it."""

    def __init__(self, recognizer: EmotionRecognizer, scoring: Scoring):
        for name in PARTS:
            setattr(self, name, self._in_thread(scoring, getattr(recognizer.predictor, name)))

    @staticmethod
    def _in_thread(scoring: Scoring, part: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: scoring.call(lambda: part(*given))


def said(text: str, path: Path) -> str:
    """Return words about a file as they may leave the server: without the place where it lay."""
    return text.replace(f"{path}: ", "").replace(str(path), "the file")


@contextmanager
def service(recognizer: EmotionRecognizer, limits: Limits) -> Iterator[Service]:
    """Yield a service that is closed afterwards."""
    made = Service(recognizer, limits)
    try:
        yield made
    finally:
        made.close()
