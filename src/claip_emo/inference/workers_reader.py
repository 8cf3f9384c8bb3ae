"""Clips are read in processes of their own, for who recognises many files."""

from __future__ import annotations

from pathlib import Path

from claip_emo.inference.pipeline import Pace
from claip_emo.inference.reader import Reader
from claip_emo.inference.reading_jobs import WorkerLostError, clip_job
from claip_emo.inference.workers import Workers
from claip_emo.media.clip import Clip
from claip_emo.media.decode import MediaError
from claip_emo.media.faces import FaceDetector
from claip_emo.model.description import Modality


class WorkersReader(Reader):
    """Reads as another reader does, in processes.

    Args:
        reader: whose settings they have.
        workers: the processes.
        timeout_s: a file that takes longer fails; None: it may take as long as it wants.
    """

    def __init__(self, reader: Reader, workers: Workers, timeout_s: float | None = None):
        """Take over what a reader has."""
        self.settings, self.reads = reader.settings, reader.reads
        self.detector, self.face_model = reader.detector, reader.face_model
        self._workers, self._timeout_s = workers, timeout_s
        self._begun = {}

    @property
    def at_once(self) -> int:
        """How many files it reads at once."""
        return self._workers.count

    def _read(
        self,
        path: str | Path,
        mask: Modality,
        detector: FaceDetector | None,
        frames_ahead: int,
        audio: str | Path | None,
        pace: Pace,
    ) -> Clip:
        """Read in one of the processes; they have a detector of their own."""
        try:
            with self._workers.borrowed() as worker, pace.ended_by(worker.kill):
                return worker.ask(clip_job(path, mask, audio), self._timeout_s)
        except WorkerLostError as error:
            raise MediaError(f"{path}: {error}.") from error
