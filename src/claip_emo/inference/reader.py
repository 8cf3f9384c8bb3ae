"""A path becomes a clip as a model wants it: what can be done before the model is there."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future, wait
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from claip_emo.inference.pipeline import MOST_READERS, Pace, PacedDetector
from claip_emo.media.clip import Clip, ClipSpec, load_clip
from claip_emo.media.decode import MediaError
from claip_emo.media.faces import FaceDetector, make_detector
from claip_emo.media.spec import DetectorKind
from claip_emo.media.weakness import SILENT
from claip_emo.model.checkpoint_folder import CONFIG, CheckpointError
from claip_emo.model.description import MASKS, READS, Modality, ModalityError, one_of
from claip_emo.model.processor_settings import ProcessorSettings, read_settings
from claip_emo.threads import in_use, one_for_each_picture

PREDICT_MAX_FPS = 35.0
"""Above this rate a file is first thinned to 25-30 frames a second, what towers were trained on."""

FRAMES_AHEAD = 4  # decoded while faces are sought in those before
LOOKS_EVERY_S = 0.05  # whether who waits for a file is still asked for it

ModalityChoice = Literal["av", "video", "audio"]


class Reader:
    """Reads what the towers of a model need from files.

    Args:
        settings: what the towers want to see.
        reads: the modality of the model.
        face_detector: overrides the checkpoint's detector.
        face_model: YuNet's model file, where it is not to come from the hub.

    Attributes:
        detector: finds faces; None: the middle square is taken, or no picture is read.
        face_model: YuNet's model file, where one was given.
    """

    def __init__(
        self,
        settings: ProcessorSettings,
        reads: Modality,
        *,
        face_detector: DetectorKind | None = None,
        face_model: str | Path | None = None,
    ):
        """Make the detector.

        Raises:
            FaceModelError: if the detector's model file is missing or broken.
        """
        self.settings, self.reads = settings, reads
        self.face_model = Path(face_model) if face_model else None
        kind = face_detector or settings.face_detector
        self.detector = make_detector(kind if "v" in reads else "none", self.face_model)
        self._begun: dict[tuple[str, Modality], tuple[Future[Clip], Pace]] = {}

    @classmethod
    def of_checkpoint(cls, folder: Path, **choices: Any) -> Reader:
        """Return the reader of a checkpoint's folder.

        Args:
            folder: of the checkpoint.
            choices: ``face_detector`` and ``face_model``.

        Raises:
            CheckpointError: if the folder is an incomplete checkpoint.
            FaceModelError: if the detector's model file is missing or broken.
        """
        settings = read_settings(folder)
        try:
            reads = json.loads((folder / CONFIG).read_text("utf-8")).get("modality", "av")
            one_of("modality", reads, get_args(Modality))
        except (OSError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{folder / CONFIG} cannot be read: {error}") from error
        return cls(settings, reads, **choices)

    @property
    def at_once(self) -> int:
        """How many files it reads at once, where there are many."""
        return min(in_use(), MOST_READERS)

    def begin(self, path: str | Path, modality: ModalityChoice = "av") -> None:
        """Read a file in a thread of its own; ``load`` then waits for that, and ``close`` ends it.

        Raises:
            ModalityError: if the model does not read the modality that is asked for.
        """
        mask, future, pace = self.mask(modality), Future[Clip](), Pace()
        detector = None if self.detector is None else PacedDetector(self.detector, pace)

        def read() -> None:
            try:
                future.set_result(self._read(path, mask, detector, FRAMES_AHEAD, None, pace))
            except BaseException as error:  # is raised where the clip is waited for
                future.set_exception(error)

        self._begun[str(path), mask] = future, pace
        threading.Thread(target=read, daemon=True, name="claip-emo-reader").start()

    def close(self) -> None:
        """Give up what was begun, at the next frame in which a face is sought."""
        for _, pace in list(self._begun.values()):
            pace.end()

    def load(
        self,
        path: str | Path,
        mask: Modality,
        *,
        detector: FaceDetector | None = None,
        frames_ahead: int = FRAMES_AHEAD,
        audio: str | Path | None = None,
        pace: Pace | None = None,
    ) -> Clip:
        """Read what the towers need from a file; up to 10 s two views, longer files up to 8.

        Args:
            path: a video, a sound file, or a folder of frames.
            mask: what is scored of it.
            detector: finds faces; None: the reader's own.
            frames_ahead: as ``load_clip`` takes it.
            audio: a sound file that belongs to a silent video.
            pace: may end it, where it is read elsewhere than in this thread.

        Raises:
            MediaError: if the file yields nothing that the model reads.
            AbandonedError: if the pace ended.
        """
        begun = None if audio else self._begun.get((str(path), mask))
        if begun is None:
            found = detector or self.detector
            return self._read(path, mask, found, frames_ahead, audio, pace or Pace())
        reading, its_pace = begun
        try:
            while not wait([reading], LOOKS_EVERY_S).done:
                if pace is not None:
                    pace.wait()
            return reading.result()
        finally:
            its_pace.end()
            self._begun.pop((str(path), mask), None)

    def _read(
        self,
        path: str | Path,
        mask: Modality,
        detector: FaceDetector | None,
        frames_ahead: int,
        audio: str | Path | None,
        pace: Pace,
    ) -> Clip:
        """Read a file; the detector keeps the pace."""
        spec = self.spec(mask)
        try:
            with nullcontext() if frames_ahead else one_for_each_picture():
                return load_clip(
                    path,
                    spec,
                    detector=detector,
                    audio_path=audio,
                    frames_ahead=frames_ahead,
                    facts=True,
                )
        except MediaError:
            if self.reads == "av":
                raise
            # Is it broken, or has it only what this model does not read?
            whole = replace(spec, video=True, audio=True)
            self.check(load_clip(path, whole, audio_path=audio), str(path))
            raise

    def mask(self, modality: ModalityChoice) -> Modality:
        """Return what is scored: what is asked for, of what the model reads.

        Raises:
            ModalityError: if the model does not read the modality that is asked for.
        """
        asked = MASKS[modality]
        if asked == "av":
            return self.reads
        if self.reads not in ("av", asked):
            raise ModalityError(
                f"This model reads {READS[self.reads]} only; ask for --modality av, which is all "
                "it has."
            )
        return asked

    def spec(self, mask: Modality) -> ClipSpec:
        """Return what is taken from a file."""
        return self.settings.clip_spec(
            views="by_duration", max_fps=PREDICT_MAX_FPS, video="v" in mask, audio="a" in mask
        )

    def check(self, clip: Clip, path: str) -> None:
        """Refuse a clip that has nothing of what a model of one modality reads.

        Raises:
            MediaError: saying what it lacks.
        """
        if ("v" in self.reads and clip.has_video) or ("a" in self.reads and clip.has_audio):
            return
        silent = any(warning.startswith(SILENT) for warning in clip.warnings)
        why = "its sound is silent" if silent else "it has no sound"
        if "v" in self.reads:
            why = "no picture could be found in it"
        raise MediaError(f"{path}: this model reads {READS[self.reads]} only, and {why}.")
