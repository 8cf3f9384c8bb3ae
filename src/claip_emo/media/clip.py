"""Clip and ``load_clip``: the one door from a file to what the towers need of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.decode import SEEK_AHEAD_S, MediaError
from claip_emo.media.faces import FaceDetector, turned_faces
from claip_emo.media.picture import Frame, crop
from claip_emo.media.source import Source, open_source
from claip_emo.media.spec import (
    ClipSpec,
    Span,
    choose_frames,
    choose_seconds,
    long_file,
    repeated,
)
from claip_emo.media.speech import has_speech
from claip_emo.media.tracks import squares
from claip_emo.media.weakness import (
    NO_SPEECH,
    audible,
    no_face,
    silent,
    weak_crops,
    why_nothing,
)

__all__ = ["Clip", "ClipSpec", "load_clip"]

Boxes = NDArray[np.float32]
Waveform = NDArray[np.float32]
Item = TypeVar("Item")

FACE_SOURCE_PX = 1280  # longest side of the frames that faces are cut from


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
        face_boxes_px: (view, time, 4), x0 y0 x1 y1 of the squares that were cropped, in px of the
            upright frame at full size; None: no detector.
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
    frames_ahead: int = 0,
    facts: bool = False,
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
        frames_ahead: how many frames a thread of its own decodes at most while faces are sought in
            those before; 0: one thing after the other, for who reads several files at once.
        facts: also warn of what makes a face or a voice hard to read.

    Raises:
        MediaError: if the file yields nothing; the message says what was wrong with which file.
    """
    spec = spec or ClipSpec()
    source = open_source(path, video=spec.video, audio=spec.audio, audio_path=audio_path)
    times, frames, boxes, rate, faces = None, None, None, None, None
    views, pictures = np.zeros((0, 0), np.int64), dict[int, Frame]()
    warnings: list[str] = []
    if len(source.times_s):
        views = choose_frames(source.times_s, source.duration_s, spec, rng)
        pictures, faces = _pictures(source, views, spec, detector, frames_ahead)
        if len(pictures) < len(np.unique(views)) and source.recount() and len(source.times_s):
            views = choose_frames(source.times_s, source.duration_s, spec, rng)
            pictures, faces = _pictures(source, views, spec, detector, frames_ahead)
        if pictures:
            lost = len(np.unique(views)) - len(pictures)
            if lost:
                warnings.append(f"damaged: {lost} sampled frames were replaced by their neighbours")
            views = repeated(
                _replaced(views, sorted(pictures)), source.sound_s, source.duration_s, spec
            )
            times = source.times_s[views]
    spans = choose_seconds(source.sound_s, source.duration_s, times, spec, rng)
    listen = partial(_heard, source, spans, spec.sampling_rate_hz)
    with ThreadPoolExecutor(1) as beside:
        hear = beside.submit(listen).result if spans and frames_ahead else listen
        if pictures:
            frames, boxes, rate = _crops(source, views, pictures, faces, spec)
        waveforms = hear() if spans else ()
    # A silent window is no reason to end a training on sound alone: there is more in the file.
    if spans and not audible(waveforms) and (frames is not None or rng is None):
        warnings.append(silent(source.sound_s, spans))
        waveforms, spans = (), ()
    if frames is None and not waveforms:
        raise MediaError(f"{path}: {why_nothing([*source.warnings, *warnings], spec)}")
    if facts and frames is not None and faces is not None and boxes is not None and rate:
        warnings += _weak_faces(source, views, pictures, faces, frames, boxes, spec)
    if facts and waveforms and not any(has_speech(w, spec.sampling_rate_hz) for w in waveforms):
        warnings.append(NO_SPEECH)
    count = len(frames) if frames is not None else len(waveforms)
    views_warning = long_file(source.duration_s, spec, count) if rng is None else []
    return Clip(
        path=str(path),
        frames=frames,
        frame_times_s=times,
        waveforms=waveforms,
        audio_spans_s=spans,
        duration_s=float(source.duration_s),
        face_rate=rate,
        face_boxes_px=boxes,
        warnings=(*source.warnings, *warnings, *no_face(rate), *views_warning),
    )


def follow_face(
    source: Source,
    pictures: Iterable[tuple[int, Frame]],
    times_s: NDArray[np.float64],
    detector: FaceDetector,
    margin: float,
) -> tuple[NDArray[np.float32], float]:
    """Look for the person of a clip in some of its frames.

    Args:
        source: where they come from.
        pictures: index and frame (height, width, 3), in the order of time.
        times_s: (frame,), of all frames.
        detector: finds faces.
        margin: share of the face's height added on each side.

    Returns:
        The square of every frame (frame, 4), in px of the upright frame at full size, NaN where
        there is nobody; and the share of the frames looked at in which the face was found.
    """
    seen = [(index, picture.shape[:2], detector.detect(picture)) for index, picture in pictures]
    return _squares(source, seen, times_s, margin)


def ahead(items: Iterable[Item], most: int) -> Iterator[Item]:
    """Yield items that a thread makes meanwhile, at most so many ahead."""
    made, end = iter(items), object()
    with ThreadPoolExecutor(1) as maker:
        waiting = deque(maker.submit(next, made, end) for _ in range(most))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(maker.submit(next, made, end))
                yield cast("Item", item)
        finally:
            for later in waiting:
                later.cancel()


def crop_face(
    source: Source, picture: Frame, box_px: NDArray[np.float32], size_px: int
) -> tuple[Frame, NDArray[np.float32]]:
    """Return the crop (S, S, 3) of a scaled frame and its box; both boxes are in full-size px."""
    scale = max(picture.shape[:2]) / source.longest_px
    square, box = crop(picture, box_px * np.float32(scale), size_px)
    return square, box / np.float32(scale)


def _heard(source: Source, spans: Sequence[Span], rate_hz: int) -> tuple[Waveform, ...]:
    """Decode some seconds of sound, those that lie near each other in one go, as frames are.

    Where a piece is sought, all that places it are timestamps, which some containers round to
    milliseconds, and a codec begins anew there. One go has neither within it.

    Returns:
        (samples,) of each span; equal spans share the array.
    """
    runs: list[list[Span]] = []
    reached = -math.inf
    for begin, end in sorted(set(spans)):
        if begin - reached > SEEK_AHEAD_S:
            runs.append([])
        runs[-1].append((begin, end))
        reached = max(reached, end)
    wholes = source.sound([(run[0][0], max(end for _, end in run)) for run in runs], rate_hz)
    pieces: dict[Span, Waveform] = {}
    for run, whole in zip(runs, wholes, strict=True):
        for begin, end in run:
            length = min(max(1, round((end - begin) * rate_hz)), len(whole))
            first = min(round((begin - run[0][0]) * rate_hz), len(whole) - length)
            pieces[begin, end] = whole[first : first + length]
    return tuple(pieces[span] for span in spans)


def _pictures(
    source: Source,
    views: NDArray[np.int64],
    spec: ClipSpec,
    detector: FaceDetector | None,
    frames_ahead: int,
) -> tuple[dict[int, Frame], dict[int, Boxes] | None]:
    """Decode the wanted frames: as large as faces need them, or cropped to the middle already.

    Returns:
        Frames, and the faces in them (face, 5) in their own px; None: no detector was asked.
    """
    wanted = np.unique(views).tolist()
    if detector is None:
        whole = source.frames(wanted, short_px=spec.size_px)
        return {index: crop(picture, None, spec.size_px)[0] for index, picture in whole}, None
    pictures, faces = {}, {}
    large = source.frames(wanted, long_px=FACE_SOURCE_PX)
    for index, picture in ahead(large, frames_ahead) if frames_ahead else large:
        pictures[index], faces[index] = picture, turned_faces(detector, picture)
    return pictures, faces


def _squares(
    source: Source,
    seen: Iterable[tuple[int, tuple[int, ...], Boxes]],
    times_s: NDArray[np.float64],
    margin: float,
) -> tuple[Boxes, float]:
    """Turn faces, seen in frames of some index, height and width, into squares."""
    looked, faces, middle = [], [], (0.0, 0.0)
    for index, shape, found in seen:
        scale = source.longest_px / max(shape)
        middle = shape[1] * scale / 2, shape[0] * scale / 2
        looked.append(index)
        faces.append(found[:, :5] * np.array([scale] * 4 + [1], np.float32))
    boxes, hit = squares(times_s, np.array(looked), faces, margin=margin, middle_px=middle)
    return boxes, float(hit.mean())


def _weak_faces(
    source: Source,
    views: NDArray[np.int64],
    pictures: dict[int, Frame],
    faces: dict[int, Boxes],
    frames: NDArray[np.uint8],
    boxes: Boxes,
    spec: ClipSpec,
) -> list[str]:
    """Say what makes the face of a clip hard to read."""
    order, first = np.unique(views, return_index=True)
    crops, squares_px = frames.reshape(-1, *frames.shape[2:])[first], boxes.reshape(-1, 4)[first]
    heights = (squares_px[:, 3] - squares_px[:, 1]) / (1 + 2 * spec.face_margin)
    centres = (squares_px[:, :2] + squares_px[:, 2:]) / 2
    found = []
    for index in order.tolist():
        scale = source.longest_px / max(pictures[index].shape[:2])
        found.append(faces[index] * np.array([scale] * 4 + [1, 1], np.float32))
    return weak_crops(crops, heights, centres, found)


def _replaced(views: NDArray[np.int64], have: Sequence[int]) -> NDArray[np.int64]:
    """Take the nearest decoded frame for one that is still missing."""
    known = np.array(have)
    nearest = np.abs(views[..., None] - known).argmin(axis=-1)
    return np.asarray(np.unique(known[nearest], axis=0), np.int64)


def _crops(
    source: Source,
    views: NDArray[np.int64],
    pictures: dict[int, Frame],
    faces: dict[int, Boxes] | None,
    spec: ClipSpec,
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None, float | None]:
    """Return crops (view, time, S, S, 3), their boxes, and the share of frames with the face."""
    order = np.unique(views)
    place = np.searchsorted(order, views)  # (view, time)
    if faces is None:
        return np.stack([pictures[i] for i in order.tolist()])[place], None, None
    seen = [(place, pictures[i].shape[:2], faces[i]) for place, i in enumerate(order.tolist())]
    squares_px, rate = _squares(source, seen, source.times_s[order], spec.face_margin)
    crops, boxes = zip(
        *(
            crop_face(source, pictures[i], square, spec.size_px)
            for i, square in zip(order.tolist(), squares_px, strict=True)
        ),
        strict=True,
    )
    return np.stack(crops)[place], np.stack(boxes)[place], rate
