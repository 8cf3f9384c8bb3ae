"""Clip and ``load_clip``: the one door from a file to what the towers need of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.decode import MediaError
from claip_emo.media.faces import FaceDetector
from claip_emo.media.picture import Frame, middle_square, square
from claip_emo.media.sampling import sound_span, spread_views, thinned, train_window, views_for
from claip_emo.media.source import Source, open_source
from claip_emo.media.tracks import squares

SILENCE = 1e-4  # peak below which sound carries nothing, -80 dB of full scale
FACE_SOURCE_PX = 1280  # longest side of the frames that faces are cut from

NO_FACE = "no face was found; the whole frame is used"


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """What is taken from a file.

    Attributes:
        num_frames: frames T of a view.
        stride: decoded frames from one sampled frame to the next.
        size_px: side S of the square crops.
        views: number of test views; ``by_duration``: 2 up to 10 s, then one per 10 s, at most 8.
        max_fps: files above it are thinned to 25-30 fps first; None: every decoded frame counts.
        audio_s: seconds of sound of a view.
        sampling_rate_hz: of the sound.
        face_margin: share of the face's height added on each side of the crop.
        video: read the picture.
        audio: read the sound.
    """

    num_frames: int = 16
    stride: int = 4
    size_px: int = 224
    views: int | Literal["by_duration"] = 2
    max_fps: float | None = None
    audio_s: float = 10.0
    sampling_rate_hz: int = 48_000
    face_margin: float = 0.0
    video: bool = True
    audio: bool = True

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: naming the setting.
        """
        for name in ("num_frames", "stride", "size_px", "sampling_rate_hz"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.views != "by_duration" and self.views < 1:
            raise ValueError(f"views must be at least 1 or 'by_duration', not {self.views}.")
        if self.audio_s <= 0 or self.face_margin < 0:
            raise ValueError("audio_s must be above 0 and face_margin not below it.")
        if not (self.video or self.audio):
            raise ValueError("A clip without video and audio is nothing: ask for one of them.")


@dataclass(frozen=True, slots=True)
class Clip:
    """What was taken from a file: one or more views of a face and a voice.

    Attributes:
        path: the file.
        frames: (view, time, S, S, 3), uint8 RGB; None: no picture. Equal views are kept once.
        frame_times_s: (view, time).
        waveforms: one per view, (samples,), float32 in [-1, 1], mono; empty: no sound.
        audio_spans_s: start and end of each waveform; views of the same seconds share the array.
        duration_s: length of the file.
        face_rate: share of the sampled frames in which the face was found; 0: none, whole frames
            are shown; None: no picture, or no detector was asked.
        face_boxes_px: (view, time, 4), x0 y0 x1 y1 of the squares, in the frames faces are cut
            from (full size up to 1280 px); None: no detector.
        warnings: what a reader of the result should know.
    """

    path: str
    frames: NDArray[np.uint8] | None
    frame_times_s: NDArray[np.float64] | None
    waveforms: tuple[NDArray[np.float32], ...]
    audio_spans_s: tuple[tuple[float, float], ...]
    duration_s: float
    face_rate: float | None = None
    face_boxes_px: NDArray[np.float32] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def has_video(self) -> bool:
        """Whether there is a picture."""
        return self.frames is not None

    @property
    def has_audio(self) -> bool:
        """Whether there is sound."""
        return bool(self.waveforms)

    @property
    def num_views(self) -> int:
        """Number of views."""
        return len(self.frames) if self.frames is not None else len(self.waveforms)


def load_clip(
    path: str | Path,
    spec: ClipSpec | None = None,
    *,
    detector: FaceDetector | None = None,
    audio_path: str | Path | None = None,
    rng: np.random.Generator | None = None,
) -> Clip:
    """Read a clip from a video, a sound file, or a folder of frames.

    A clip without sound, without picture, or of one frame is a normal input. What is truncated or
    damaged yields what can be decoded, with a warning.

    Args:
        path: the file or folder.
        spec: what is taken; None: 16 frames of 224 px and 10 s of sound, two test views.
        detector: finds the face that is cropped; None: the middle square of the frame.
        audio_path: take the sound from this file instead.
        rng: draw one random training window; None: test views.

    Raises:
        MediaError: if the file yields nothing; the message says what was wrong with which file.
    """
    spec = spec or ClipSpec()
    source = open_source(path, video=spec.video, audio=spec.audio, audio_path=audio_path)
    frames, times, boxes, rate = None, None, None, None
    if len(source.times_s):
        views, warnings = _choose(source, spec, rng)
        pictures = _pictures(source, np.unique(views), spec, detector)
        if len(pictures) < len(np.unique(views)) and source.recount() and len(source.times_s):
            views, warnings = _choose(source, spec, rng)
            pictures = _pictures(source, np.unique(views), spec, detector)
        if pictures:
            views = _replaced(views, sorted(pictures))
            source.warnings += warnings
            frames, boxes, rate = _crops(source, views, pictures, spec, detector)
            times = source.times_s[views]
    waveforms, spans = _sound(source, spec, times, rng)
    if frames is None and not waveforms:
        raise MediaError(f"{path}: {_why_nothing(source, spec)}")
    return Clip(
        path=str(path),
        frames=frames,
        frame_times_s=times,
        waveforms=waveforms,
        audio_spans_s=spans,
        duration_s=float(source.duration_s),
        face_rate=rate,
        face_boxes_px=boxes,
        warnings=tuple(dict.fromkeys(source.warnings)),
    )


def _choose(
    source: Source, spec: ClipSpec, rng: np.random.Generator | None
) -> tuple[NDArray[np.int64], list[str]]:
    """Choose the frames of every view: (view, time) indices into the source's frames."""
    kept = np.arange(len(source.times_s))
    if spec.max_fps is not None:
        kept = thinned(source.times_s, spec.max_fps)
    if rng is not None:
        window = train_window(len(kept), rng, length=spec.num_frames, stride=spec.stride)
        return kept[window][None], []
    count, warnings = _view_count(source, spec)
    views = spread_views(len(kept), length=spec.num_frames, stride=spec.stride, views=count)
    return kept[np.unique(views, axis=0)], warnings


def _view_count(source: Source, spec: ClipSpec) -> tuple[int, list[str]]:
    if spec.views != "by_duration":
        return spec.views, []
    count = views_for(source.duration_s)
    if source.duration_s <= 10:
        return count, []
    return count, [
        f"the file is {source.duration_s:.0f} s long; the result is the mean of {count} views "
        "spread over it"
    ]


def _pictures(
    source: Source, wanted: NDArray[np.int64], spec: ClipSpec, detector: FaceDetector | None
) -> dict[int, Frame]:
    """Decode the wanted frames: as large as faces need them, or no larger than the crop."""
    if detector is not None:
        return source.frames(wanted.tolist(), long_px=FACE_SOURCE_PX)
    pictures = source.frames(wanted.tolist(), short_px=spec.size_px)
    return {
        index: square(picture, middle_square(*picture.shape[:2]), spec.size_px)
        for index, picture in pictures.items()
    }


def _replaced(views: NDArray[np.int64], have: Sequence[int]) -> NDArray[np.int64]:
    """Take the nearest decoded frame for one that is still missing."""
    known = np.array(have)
    nearest = np.abs(views[..., None] - known).argmin(axis=-1)
    return np.asarray(known[nearest], np.int64)


def _crops(
    source: Source,
    views: NDArray[np.int64],
    pictures: dict[int, Frame],
    spec: ClipSpec,
    detector: FaceDetector | None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None, float | None]:
    """Return crops (view, time, S, S, 3), their boxes, and the share of frames with the face."""
    if detector is None:
        return np.stack([np.stack([pictures[i] for i in view]) for view in views]), None, None
    order = np.unique(views)
    crops, boxes, found = crop_faces(
        [pictures[i] for i in order], source.times_s[order], spec, detector
    )
    place = np.searchsorted(order, views)  # (view, time)
    rate = float(found.mean())
    if rate == 0:
        source.warnings.append(NO_FACE)
    return crops[place], boxes[place], rate


def crop_faces(
    pictures: Sequence[Frame],
    times_s: NDArray[np.float64],
    spec: ClipSpec,
    detector: FaceDetector,
    every: int = 1,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
    """Find, track and crop the person of a clip.

    Args:
        pictures: frames (height, width, 3), in the order of time.
        times_s: (frame,).
        spec: size and margin of the crop.
        detector: finds faces; it looks at every ``every``-th frame.
        every: distance of the frames that are looked at.

    Returns:
        Crops (frame, S, S, 3); boxes (frame, 4); whether the face was found in each frame that was
        looked at.
    """
    looked = np.arange(0, len(pictures), every)
    faces = [detector.detect(pictures[int(i)]) for i in looked]
    boxes, found, placed = squares(times_s[looked], faces, spec.face_margin)
    nearest = np.abs(times_s[:, None] - times_s[looked]).argmin(axis=1)
    all_boxes = np.stack(
        [np.interp(times_s, times_s[looked], boxes[:, side]) for side in range(4)], axis=1
    ).astype(np.float32)
    crops = []
    for index, picture in enumerate(pictures):
        if not placed[nearest[index]]:
            all_boxes[index] = middle_square(*picture.shape[:2])
        elif not placed.all():
            all_boxes[index] = boxes[nearest[index]]
        crops.append(square(picture, all_boxes[index], spec.size_px))
    return np.stack(crops), all_boxes, found


def _sound(
    source: Source,
    spec: ClipSpec,
    frame_times_s: NDArray[np.float64] | None,
    rng: np.random.Generator | None,
) -> tuple[tuple[NDArray[np.float32], ...], tuple[tuple[float, float], ...]]:
    """Return the sound of every view and its seconds; nothing where there is no sound."""
    if source.sound_s is None:
        return (), ()
    begin, end = source.sound_s
    if frame_times_s is not None:
        centres = [(float(view[0]) + float(view[-1])) / 2 for view in frame_times_s]
    elif rng is not None:
        centres = [float(rng.uniform(begin, end))]
    elif end - begin <= spec.audio_s:
        centres = [(begin + end) / 2]
    else:
        count, warnings = _view_count(source, spec)
        source.warnings += warnings
        half = spec.audio_s / 2
        centres = [float(c) for c in np.linspace(begin + half, end - half, count)]
    spans = [sound_span(centre, begin, end, spec.audio_s) for centre in centres]
    distinct = sorted(set(spans))
    pieces = dict(zip(distinct, source.sound(distinct, spec.sampling_rate_hz), strict=True))
    if max(float(np.abs(piece).max()) for piece in pieces.values()) < SILENCE:
        source.warnings.append("the sound is silent")
        return (), ()
    return tuple(pieces[span] for span in spans), tuple(spans)


def _why_nothing(source: Source, spec: ClipSpec) -> str:
    details = "; ".join(dict.fromkeys(source.warnings))
    if details:
        return f"nothing in it could be decoded ({details})."
    asked = [name for name, on in (("picture", spec.video), ("sound", spec.audio)) if on]
    return f"no {' and no '.join(asked)} could be found in it."
