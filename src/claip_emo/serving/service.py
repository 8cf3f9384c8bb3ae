"""What a server does with an upload: decode it in a sandbox, score it, and forget it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from claip_emo.inference.reader import ModalityChoice
from claip_emo.inference.reading_jobs import PARTS, answering, clip_job, timeline_job
from claip_emo.inference.recognizer import BATCH_SIZE, EmotionRecognizer
from claip_emo.inference.result import EmotionResult
from claip_emo.inference.timeline import FacesChoice
from claip_emo.inference.timeline_result import Timeline
from claip_emo.inference.workers import Worker
from claip_emo.media.clip import Clip
from claip_emo.serving.decoding import Decoding, told
from claip_emo.serving.folder import Folder
from claip_emo.serving.limits import Limits
from claip_emo.serving.metrics import Metrics
from claip_emo.serving.problems import ProblemError
from claip_emo.serving.scoring import Scoring

logger = logging.getLogger(__name__)

NAME = "clip"  # of every file: the one it came with is nobody's business, nor where it lay


class Service:
    """A recogniser for uploads.

    Args:
        recognizer: with the model.
        limits: of what it does.

    Attributes:
        metrics: what was done.
        draining: whether it takes no more requests.
        uploads: where files lie until they are read.
    """

    def __init__(self, recognizer: EmotionRecognizer, limits: Limits):
        """Start its processes and threads.

        Raises:
            WorkerLostError: if processes cannot be started.
        """
        self.recognizer, self.limits, self.metrics = recognizer, limits, Metrics()
        self.draining = False
        self._in_flight, self._idle = 0, asyncio.Event()
        self._idle.set()
        self._place = Folder()
        self.uploads = self._place.uploads
        try:
            self._decoding = Decoding(recognizer, limits, self._place.boxes, self.metrics)
        except BaseException:
            self._place.close()
            raise
        self._scoring = Scoring(recognizer, BATCH_SIZE, self.metrics.batches.observe)

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
        path = self.uploads / uuid.uuid4().hex
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
        return self._decoding.pids

    def ready(self) -> bool:
        """Say whether it takes requests."""
        return self._decoding.started and not self.draining

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

    async def timeline(
        self,
        path: Path,
        modality: ModalityChoice,
        *,
        window_s: float,
        hop_s: float,
        faces: FacesChoice,
    ) -> Timeline:
        """Find out who shows which emotion when in an upload.

        Raises:
            ProblemError: if that cannot be.
        """
        mask = self.recognizer.reader.mask(modality)
        how = {"window_s": window_s, "hop_s": hop_s, "faces": faces}
        limits = self.recognizer.abstention.limits

        def make(worker: Worker, inside: Path) -> Timeline:
            job = timeline_job(inside, mask, **how, limits=limits)
            parts = answering(_Parts(self.recognizer, self._scoring))
            return worker.ask(job, self.limits.timeline_s, parts)

        found = await self._decoding.do(path, make, Timeline)
        words = tuple(told(text, path) for text in found.warnings)
        return replace(found, path=NAME, warnings=words)

    async def _read(self, path: Path, modality: ModalityChoice) -> Clip:
        mask = self.recognizer.reader.mask(modality)
        begun = time.perf_counter()

        def read(worker: Worker, inside: Path) -> Clip:
            return worker.ask(clip_job(inside, mask), self.limits.predict_s)

        clip = await self._decoding.do(path, read, Clip)
        self.metrics.reading.observe(time.perf_counter() - begun)
        return clip

    async def _scored(self, clip: Clip, modality: ModalityChoice, path: Path) -> EmotionResult:
        begun = time.perf_counter()
        row = await asyncio.wrap_future(self._scoring.score(clip, modality))
        self.metrics.scoring.observe(time.perf_counter() - begun)
        if row.error is not None:
            logger.error("A clip could not be scored: %s", row.error)
            raise ProblemError("internal", "The model could not score this file.")
        words = tuple(told(text, path) for text in row.warnings)
        return replace(row, path=NAME, warnings=words)

    def close(self) -> None:
        """End processes and threads, and remove what was uploaded."""
        self.draining = True
        self._decoding.close()
        self._scoring.close()
        self._place.close()


class _Parts:
    """The parts of the model, called in the thread that has it."""

    def __init__(self, recognizer: EmotionRecognizer, scoring: Scoring):
        for name in PARTS:
            setattr(self, name, self._in_thread(scoring, getattr(recognizer.predictor, name)))

    @staticmethod
    def _in_thread(scoring: Scoring, part: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: scoring.call(lambda: part(*given))


@contextmanager
def service(recognizer: EmotionRecognizer, limits: Limits) -> Iterator[Service]:
    """Yield a service that is closed afterwards."""
    made = Service(recognizer, limits)
    try:
        yield made
    finally:
        made.close()
