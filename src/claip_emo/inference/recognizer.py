"""EmotionRecognizer: a path becomes an emotion."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from claip_emo.labels import LabelSet
from claip_emo.media.clip import SILENT, Clip, ClipSpec, load_clip
from claip_emo.media.decode import MediaError
from claip_emo.media.faces import make_detector
from claip_emo.model.batching import READS, Modality, ModalityError, score, stack
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor

logger = logging.getLogger(__name__)

PREDICT_MAX_FPS = 35.0
"""Above this rate a file is first thinned to 25-30 frames a second, what towers were trained on."""

ModalityChoice = Literal["av", "video", "audio"]
_MASKS: dict[str, Modality] = {"av": "av", "video": "v", "audio": "a"}


@dataclass(frozen=True, slots=True)
class Faces:
    """Where the face was.

    Attributes:
        times_s: (view, time), when each sampled frame is shown.
        boxes_px: (view, time, 4), x0 y0 x1 y1 of the square that was cropped.
    """

    times_s: np.ndarray
    boxes_px: np.ndarray


@dataclass(frozen=True, slots=True)
class EmotionResult:
    """What was recognised in one file, or why nothing could be.

    Attributes:
        path: the file as it was given.
        label: the most probable emotion.
        scores: probability of each emotion; they sum to 1.
        duration_s: length of the file.
        face_rate: share of the sampled frames in which the face was found; None without picture
            or where no detector was asked.
        modalities: what was used, of ``video`` and ``audio``.
        warnings: what a reader of the result should know.
        error: why there is no result; None where there is one.
        faces: where the face was, for callers in Python; not part of the JSON.
    """

    path: str
    label: str | None = None
    scores: dict[str, float] | None = None
    duration_s: float | None = None
    face_rate: float | None = None
    modalities: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None
    faces: Faces | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the row that ``claip-emo predict --json`` prints."""
        row = asdict(self)
        del row["faces"]
        return row | {"modalities": list(self.modalities), "warnings": list(self.warnings)}


class EmotionRecognizer:
    """Recognises the emotion that a person on a video shows, from face and voice.

    Args:
        model: a trained model; its LoRA is merged for speed.
        processor: what the model's towers want to see.
        face_detector: overrides the checkpoint's detector.
        face_model: YuNet's model file, where it is not to come from the hub.
    """

    def __init__(
        self,
        model: ClaipEmoModel,
        processor: ClaipEmoProcessor,
        *,
        face_detector: Literal["auto", "yunet", "haar", "none"] | None = None,
        face_model: str | Path | None = None,
    ):
        """Merge the adapters and make the detector.

        Raises:
            FaceModelError: if the detector's model file is missing or broken.
        """
        self.model = model.merge()
        self.processor = processor
        kind = face_detector or processor.settings.face_detector
        if not model.config.reads_video:
            kind = "none"
        self.detector = make_detector(kind, Path(face_model) if face_model else None)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        face_detector: Literal["auto", "yunet", "haar", "none"] | None = None,
        face_model: str | Path | None = None,
        **hub: Any,
    ) -> EmotionRecognizer:
        """Load a recogniser from a run's folder, its ``model/``, or a hub id.

        Raises:
            CheckpointError: if it is no checkpoint.
            BackboneError: if the towers it refers to cannot be had.
        """
        model = ClaipEmoModel.from_pretrained(source, **hub).to(pick_device(device))
        processor = ClaipEmoProcessor.from_pretrained(source, **hub)
        return cls(model, processor, face_detector=face_detector, face_model=face_model)

    @property
    def labels(self) -> LabelSet:
        """The emotions it tells apart."""
        return self.model.config.label_set

    def __call__(
        self, path: str | Path, *, modality: ModalityChoice = "av", audio: str | Path | None = None
    ) -> EmotionResult:
        """Recognise the emotion in one file or folder of frames.

        Args:
            path: a video, a sound file, or a folder of frames.
            modality: use face and voice, or only one of them; ``av`` is what the model reads.
            audio: a sound file that belongs to a silent video.

        Raises:
            MediaError: if the file yields nothing that the model reads.
            ModalityError: if the model does not read the modality that is asked for.
        """
        return self.recognize(self.load(path, modality, audio), modality, path=str(path))

    def load(
        self, path: str | Path, modality: ModalityChoice = "av", audio: str | Path | None = None
    ) -> Clip:
        """Read what the towers need from a file; up to 10 s two views, longer files up to 8.

        Raises:
            MediaError: if the file yields nothing that the model reads.
            ModalityError: if the model does not read the modality that is asked for.
        """
        spec = self._spec(self._mask(modality))
        try:
            return load_clip(path, spec, detector=self.detector, audio_path=audio)
        except MediaError:
            if self.model.config.modality == "av":
                raise
            # Is it broken, or has it only what this model does not read?
            whole = replace(spec, video=True, audio=True)
            self._check(load_clip(path, whole, audio_path=audio), str(path))
            raise

    def _mask(self, modality: ModalityChoice) -> Modality:
        """Return what is scored: what is asked for, of what the model reads."""
        asked, reads = _MASKS[modality], self.model.config.modality
        if asked == "av":
            return reads
        if reads not in ("av", asked):
            raise ModalityError(
                f"This model reads {READS[reads]} only; ask for --modality av, which is all it has."
            )
        return asked

    def _spec(self, mask: Modality) -> ClipSpec:
        return self.processor.clip_spec(
            views="by_duration",
            max_fps=PREDICT_MAX_FPS,
            video="v" in mask,
            audio="a" in mask,
        )

    def _check(self, clip: Clip, path: str) -> None:
        """Refuse a clip that has nothing of what a model of one modality reads."""
        config = self.model.config
        if (config.reads_video and clip.has_video) or (config.reads_audio and clip.has_audio):
            return
        silent = any(warning.startswith(SILENT) for warning in clip.warnings)
        why = "its sound is silent" if silent else "it has no sound"
        if config.reads_video:
            why = "no picture could be found in it"
        raise MediaError(f"{path}: this model reads {READS[config.modality]} only, and {why}.")

    def recognize(
        self, clip: Clip, modality: ModalityChoice = "av", *, path: str | None = None
    ) -> EmotionResult:
        """Recognise the emotion in a clip that was loaded already.

        Raises:
            MediaError: if a model of one modality finds nothing of it in the clip.
            ModalityError: if the model does not read the modality that is asked for.
        """
        mask = self._mask(modality)
        self._check(clip, path or clip.path)
        scores = score(self.model, self.processor, stack([clip]), (mask,))[mask].probabilities[0]
        used = [
            name
            for name, present in (("video", clip.has_video), ("audio", clip.has_audio))
            if present and name[0] in mask
        ]
        names = self.labels.names
        faces = None
        if clip.face_boxes_px is not None and clip.frame_times_s is not None:
            faces = Faces(clip.frame_times_s, clip.face_boxes_px)
        return EmotionResult(
            path=path or clip.path,
            label=names[int(scores.argmax())],
            scores={name: float(value) for name, value in zip(names, scores, strict=True)},
            duration_s=float(clip.duration_s),
            face_rate=clip.face_rate,
            modalities=tuple(used),
            warnings=clip.warnings,
            faces=faces,
        )

    def many(
        self, paths: Iterable[str | Path], *, modality: ModalityChoice = "av"
    ) -> Iterator[EmotionResult]:
        """Recognise many files, one row each; a bad file is a row with its error."""
        for path in paths:
            try:
                result = self(path, modality=modality)
            except ModalityError:  # a wrong question is wrong for every file
                raise
            except (MediaError, OSError) as error:
                result = EmotionResult(str(path), error=str(error) or type(error).__name__)
            except Exception as error:  # whatever one file does, the others go on
                logger.info("%s failed", path, exc_info=True)
                result = EmotionResult(
                    str(path),
                    error=f"{path}: it cannot be handled ({type(error).__name__}: {error}); "
                    "CLAIP_EMO_LOG=INFO shows where.",
                )
            yield result


def pick_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes CUDA, then Apple's GPU, then the CPU.

    Raises:
        ValueError: if the device is unknown or not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available: Sequence[bool] = {
        "cpu": [True],
        "cuda": [torch.cuda.is_available()],
        "mps": [torch.backends.mps.is_available()],
    }.get(name.partition(":")[0], [])
    if not available:
        raise ValueError(f"Unknown device {name!r}; it is auto, cpu, cuda or mps.")
    if not available[0]:
        raise ValueError(f"There is no {name} device on this machine; use --device auto or cpu.")
    return torch.device(name)
