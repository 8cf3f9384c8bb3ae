"""ClipSpec: what is taken from a file, and which of its frames and seconds that means."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.sampling import (
    VIEW_S,
    sound_span,
    test_views,
    thinned,
    train_window,
    views_for,
)

MOSTLY = 0.95  # of what evenly spaced pieces of the sound cover
WIDEST_MARGIN = 4.0  # nine faces wide: beyond it a crop is all border

Span = tuple[float, float]
DetectorKind = Literal["auto", "yunet", "haar", "none"]


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
        if self.views != "by_duration" and not (isinstance(self.views, int) and self.views >= 1):
            raise ValueError(f"views must be at least 1 or 'by_duration', not {self.views!r}.")
        if self.max_fps is not None and not self.max_fps > 0:
            raise ValueError(f"max_fps must be above 0, or None, not {self.max_fps}.")
        if not 0 < self.audio_s < math.inf:
            raise ValueError(f"audio_s must be above 0, not {self.audio_s}.")
        if not 0 <= self.face_margin <= WIDEST_MARGIN:
            raise ValueError(
                f"face_margin must be from 0 to {WIDEST_MARGIN:g}, not {self.face_margin}."
            )
        if not (self.video or self.audio):
            raise ValueError("A clip without video and audio is nothing: ask for one of them.")


def choose_frames(
    times_s: NDArray[np.float64], duration_s: float, spec: ClipSpec, rng: np.random.Generator | None
) -> NDArray[np.int64]:
    """Choose the frames of every view.

    Args:
        times_s: (frame,), when each frame is shown.
        duration_s: length of the file.
        spec: how many, how far apart.
        rng: draw one training window; None: test views, equal ones once.

    Returns:
        (view, time), indices into ``times_s``.
    """
    kept = np.arange(len(times_s))
    if spec.max_fps is not None:
        kept = thinned(times_s, spec.max_fps)
    if rng is not None:
        window = train_window(len(kept), rng, length=spec.num_frames, stride=spec.stride)
        return np.asarray(kept[window][None], np.int64)
    count = _view_count(duration_s, spec)
    views = test_views(len(kept), length=spec.num_frames, stride=spec.stride, views=count)
    return np.asarray(kept[np.unique(views, axis=0)], np.int64)


def choose_seconds(
    sound_s: Span | None,
    duration_s: float,
    frame_times_s: NDArray[np.float64] | None,
    spec: ClipSpec,
    rng: np.random.Generator | None,
) -> tuple[Span, ...]:
    """Choose the seconds of sound of every view.

    Args:
        sound_s: start and end of the sound; None: there is none.
        duration_s: length of the file.
        frame_times_s: (view, time); the sound of a view is centred on its frames. None: no picture,
            so the views are spread over the sound. So they are, when a whole file is to be
            covered, where the sound around the frames leaves out what others would hear.
        spec: how long, and how many views there are without a picture.
        rng: draws the place of the one view where there is no picture.

    Returns:
        Start and end for each view; nothing where there is no sound.
    """
    if sound_s is None:
        return ()
    begin, end = sound_s
    count = len(frame_times_s) if frame_times_s is not None else _view_count(duration_s, spec)
    if frame_times_s is None and rng is not None:
        return (sound_span(float(rng.uniform(begin, end, 1)[0]), begin, end, spec.audio_s),)
    if frame_times_s is None:
        count = 1 if end - begin <= spec.audio_s else count
        return _evenly(sound_s, count, spec.audio_s)
    centres = (frame_times_s[:, 0] + frame_times_s[:, -1]) / 2
    around = tuple(sound_span(float(centre), begin, end, spec.audio_s) for centre in centres)
    if spec.views == "by_duration" and rng is None:
        evenly = _evenly(sound_s, count, spec.audio_s)
        if _covered_s(around) < MOSTLY * _covered_s(evenly):  # a short picture, a long sound
            return evenly
    return around


def _evenly(sound_s: Span, count: int, wanted_s: float) -> tuple[Span, ...]:
    begin, end = sound_s
    half = min(wanted_s, end - begin) / 2
    centres = np.linspace(begin + half, end - half, count) if count > 1 else [(begin + end) / 2]
    return tuple(sound_span(float(centre), begin, end, wanted_s) for centre in centres)


def _covered_s(spans: Iterable[Span]) -> float:
    """Return how many seconds lie in at least one of the spans."""
    covered, reached = 0.0, -math.inf
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered


def repeated(
    views: NDArray[np.int64], sound_s: Span | None, duration_s: float, spec: ClipSpec
) -> NDArray[np.int64]:
    """Return each view of a short picture beside a long sound so often that all of it is heard.

    Args:
        views: (view, time), distinct.
        sound_s: start and end of the sound; None: there is none.
        duration_s: length of the file.
        spec: how many views a file of this length has.

    Returns:
        (view, time), as many as the length asks for, equal ones beside each other.
    """
    count = _view_count(duration_s, spec)
    long = spec.views == "by_duration" and duration_s > VIEW_S
    if not long or sound_s is None or len(views) >= count:
        return views
    return np.asarray(views[np.arange(count) * len(views) // count], np.int64)


def long_file(duration_s: float, spec: ClipSpec, views: int) -> list[str]:
    """Return the warning that not everything in a long file is looked at."""
    if spec.views != "by_duration" or duration_s <= VIEW_S:
        return []
    if views == 1:
        return [f"the file is {duration_s:.0f} s long: one view of it is looked at"]
    return [f"the file is {duration_s:.0f} s long: {views} evenly spaced views of it are averaged"]


def _view_count(duration_s: float, spec: ClipSpec) -> int:
    return views_for(duration_s) if spec.views == "by_duration" else spec.views
