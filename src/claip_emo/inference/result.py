"""EmotionResult: what was recognised in one file, or why nothing could be."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claip_emo.inference.abstention import Abstention
from claip_emo.media.clip import Clip
from claip_emo.media.container import MediaError
from claip_emo.model.description import Modality

logger = logging.getLogger(__name__)


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
        label: the most probable emotion; ``uncertain`` where none is sure enough to be named.
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


def result_of(
    clip: Clip,
    path: str,
    mask: Modality,
    names: Sequence[str],
    scores: NDArray[np.float64],
    abstention: Abstention,
) -> EmotionResult:
    """Return what was recognised in a clip.

    Args:
        clip: what was scored.
        path: the file as it was given.
        mask: what was left unmasked.
        names: of the classes.
        scores: (class,).
        abstention: says when no emotion is named.
    """
    used = tuple(
        name
        for name, present in (("video", clip.has_video), ("audio", clip.has_audio))
        if present and name[0] in mask
    )
    faces = None
    if clip.face_boxes_px is not None and clip.frame_times_s is not None:
        faces = Faces(clip.frame_times_s, clip.face_boxes_px)
    return EmotionResult(
        path=path,
        label=abstention.label(names, scores, used),
        scores={name: float(value) for name, value in zip(names, scores, strict=True)},
        duration_s=float(clip.duration_s),
        face_rate=clip.face_rate,
        modalities=used,
        warnings=clip.warnings,
        faces=faces,
    )


def failed(path: str, error: Exception) -> EmotionResult:
    """Return the row of a file that nothing could be recognised in."""
    return EmotionResult(path, error=explained(path, error))


def explained(path: str, error: Exception) -> str:
    """Return why a file could not be handled, in one line."""
    if isinstance(error, (MediaError, OSError)):
        return str(error) or type(error).__name__
    logger.info("%s failed", path, exc_info=error)
    return (
        f"{path}: it cannot be handled ({type(error).__name__}: {error}); "
        "CLAIP_EMO_LOG=INFO shows where."
    )
