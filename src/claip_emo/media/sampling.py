"""Which frames and which seconds are taken: pure arithmetic on indices and times.

Test views and training windows are those of the paper's released code; the step of a training
window is 4 or 5, not always 4.
"""

# ruff: noqa: PT028  (``test_views`` tests nothing: it is the protocol's word)
from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

THIN_ABOVE_FPS = 35.0
THIN_TO_FPS = (25.0, 30.0)
VIEW_S = 10.0  # seconds that one view answers for when a whole file is to be covered
MOST_VIEWS = 8


def test_views(
    num_frames: int, *, length: int = 16, stride: int = 4, views: int = 2
) -> NDArray[np.int64]:
    """Return evenly spaced views for testing, as frame indices.

    Args:
        num_frames: decoded frames of the clip, at least 1.
        length: frames of a view.
        stride: decoded frames from one to the next.
        views: number of views; the first starts at the first frame, the last ends at the last.

    Returns:
        (view, length); a clip that is too short repeats its last sampled frame.
    """
    _check(num_frames)
    strided = np.arange(0, num_frames, stride)
    spare = max(len(strided) - length, 0)
    padded = np.concatenate([strided, np.full(max(length - len(strided), 0), strided[-1])])
    starts = [int(view * spare / max(views - 1, 1)) for view in range(views)]
    return np.stack([padded[start : start + length] for start in starts]).astype(np.int64)


def train_window(
    num_frames: int, rng: np.random.Generator, *, length: int = 16, stride: int = 4
) -> NDArray[np.int64]:
    """Return one random training window, as frame indices.

    Args:
        num_frames: decoded frames of the clip, at least 1.
        rng: generator of the window's start; not drawn from for clips of one window or less.
        length: frames of the window.
        stride: decoded frames from one to the next, on average.

    Returns:
        (length,).
    """
    _check(num_frames)
    span = length * stride
    if num_frames > span:
        start = int(rng.integers(0, num_frames - span))
        window = np.clip(np.linspace(start, start + span, length), start, start + span - 1)
    else:
        taken = np.linspace(0, num_frames, num_frames // stride)
        rest = np.full(length - len(taken), num_frames)
        window = np.clip(np.concatenate([taken, rest]), 0, num_frames - 1)
    return window.astype(np.int64)


def views_for(duration_s: float) -> int:
    """Return how many views cover a whole file: 2 up to 10 s, one per 10 s above, at most 8."""
    return int(np.clip(math.ceil(duration_s / VIEW_S - 1e-9), 2, MOST_VIEWS))


def thinned(times_s: NDArray[np.float64], above_fps: float = THIN_ABOVE_FPS) -> NDArray[np.int64]:
    """Return the indices of the frames that stay when a fast file is thinned to 25-30 fps.

    Args:
        times_s: (frame,), when each frame is shown, ascending.
        above_fps: files up to this rate keep every frame.

    Returns:
        (kept,), ascending; by time, so that a variable rate is thinned where it is fast.
    """
    count = len(times_s)
    span = times_s[-1] - times_s[0] if count > 1 else 0.0
    if span <= 0 or (count - 1) / span <= above_fps:
        return np.arange(count)
    rate = (count - 1) / span
    divided = rate / math.ceil(rate / THIN_TO_FPS[1] - 1e-3)
    target = divided if divided >= THIN_TO_FPS[0] else THIN_TO_FPS[1]
    slot = np.floor((times_s - times_s[0]) * target + 1e-3)
    return np.flatnonzero(np.diff(slot, prepend=-1.0) > 0)


def sound_span(
    centre_s: float, start_s: float, end_s: float, wanted_s: float
) -> tuple[float, float]:
    """Return the seconds of sound of a view: centred, shifted to lie inside the file.

    Args:
        centre_s: middle of the view's sampled frames.
        start_s: where the sound begins on the clock.
        end_s: where it ends.
        wanted_s: length; sound that is shorter is taken whole.
    """
    if end_s - start_s <= wanted_s:
        return start_s, end_s
    begin = min(max(centre_s - wanted_s / 2, start_s), end_s - wanted_s)
    return begin, begin + wanted_s


def _check(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError("A clip without frames has no views.")
