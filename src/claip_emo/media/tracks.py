"""Faces over time: boxes are joined into tracks, one is chosen, smoothed and made square."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

JOIN_IOU = 0.25  # boxes that overlap this much in neighbouring frames are one face
LONGEST_MISS_S = 1.0  # a track survives this long without a box, or 3 sampled frames
SMOOTH_S = 0.25  # deviation of the Gaussian over time


@dataclass(slots=True)
class FaceTrack:
    """One face over time: in which frames it was found, and where.

    Attributes:
        frames: indices of the frames.
        boxes: x, y, width, height, score of each.
    """

    frames: list[int] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)

    @property
    def weight(self) -> float:
        """Length times size times confidence: a long, large track is the person of the clip."""
        return float(sum(np.sqrt(max(b[2] * b[3], 0.0)) * b[4] for b in self.boxes))


def longest_miss(times_s: NDArray[np.float64]) -> float:
    """Return the gap, in seconds, after which a face may be another person's."""
    steps = np.diff(times_s)
    return max(LONGEST_MISS_S, 3.01 * float(np.median(steps))) if len(steps) else LONGEST_MISS_S


def join(times_s: NDArray[np.float64], faces: Sequence[NDArray[np.float32]]) -> list[FaceTrack]:
    """Join the boxes of successive frames into tracks, by overlap.

    Args:
        times_s: (frame,), ascending.
        faces: per frame, (face, 5): x, y, width, height, score.

    Returns:
        Tracks in the order in which they begin.
    """
    tracks: list[FaceTrack] = []
    patience = longest_miss(times_s)
    for index, boxes in enumerate(faces):
        alive = [t for t in tracks if times_s[index] - times_s[t.frames[-1]] <= patience]
        pairs = sorted(
            ((iou(track.boxes[-1], box), t, b) for t, track in enumerate(alive)
             for b, box in enumerate(boxes)),
            reverse=True,
        )  # fmt: skip
        taken_tracks: set[int] = set()
        taken_boxes: set[int] = set()
        for overlap, t, b in pairs:
            if overlap >= JOIN_IOU and t not in taken_tracks and b not in taken_boxes:
                alive[t].frames.append(index)
                alive[t].boxes.append(boxes[b])
                taken_tracks.add(t)
                taken_boxes.add(b)
        for b, box in enumerate(boxes):
            if b not in taken_boxes:
                tracks.append(FaceTrack([index], [box]))
    return tracks


def iou(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the overlap of two boxes (x, y, width, height, ...), from 0 to 1."""
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(one[:2] + one[2:4], other[:2] + other[2:4])
    shared = float(np.prod(np.maximum(high - low, 0)))
    union = float(one[2] * one[3] + other[2] * other[3]) - shared
    return shared / union if union > 0 else 0.0


def squares(
    times_s: NDArray[np.float64],
    looked: NDArray[np.int64],
    faces: Sequence[NDArray[np.float32]],
    *,
    margin: float = 0.0,
    middle_px: tuple[float, float] = (0.0, 0.0),
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the square that shows the person of the clip in every frame.

    Each stretch of frames without a long gap has a person of its own, as the scene may have
    changed. Frames in which the face was missed, or not looked for, take its interpolated place.

    Args:
        times_s: (frame,), ascending.
        looked: (looked,), the frames in which faces were sought, ascending.
        faces: per frame looked at, (face, 5): x, y, width, height, score in px.
        margin: share of the face's height added on each side.
        middle_px: centre of the picture; of equal tracks the nearer one is taken.

    Returns:
        Boxes (frame, 4) as x0, y0, x1, y1, NaN in stretches without a face; whether the chosen face
        was found in each frame looked at (looked,).
    """
    boxes = np.full((len(times_s), 4), np.nan, np.float32)
    found = np.zeros(len(looked), np.bool_)
    seen_s = times_s[looked]
    cuts = np.flatnonzero(np.diff(seen_s) > longest_miss(seen_s)) + 1
    stretch_of = np.searchsorted((seen_s[cuts - 1] + seen_s[cuts]) / 2, times_s)
    for stretch, part in enumerate(np.split(np.arange(len(looked)), cuts)):
        tracks = join(seen_s[part], [faces[index] for index in part])
        if not tracks:
            continue
        chosen = max(tracks, key=lambda track: (round(track.weight, 3), -_away(track, middle_px)))
        shown = stretch_of == stretch
        boxes[shown] = _smooth_squares(times_s[shown], seen_s[part], chosen, margin)
        found[part[chosen.frames]] = True
    return boxes, found


def _away(track: FaceTrack, middle_px: tuple[float, float]) -> float:
    """Return how far from the middle a face is on average, in px."""
    raw = np.stack(track.boxes)
    centre = (raw[:, :2] + raw[:, 2:4] / 2).mean(axis=0)
    return float(np.hypot(*(centre - np.array(middle_px))))


def _smooth_squares(
    times_s: NDArray[np.float64],
    seen_s: NDArray[np.float64],
    track: FaceTrack,
    margin: float,
) -> NDArray[np.float32]:
    """Interpolate centre and size over the frames looked at, smooth them, and fill in the rest."""
    smooth = _smoothed(seen_s, seen_s, seen_s[track.frames], np.stack(track.boxes), margin)
    return _corners(*(np.interp(times_s, seen_s, values) for values in smooth.T))


def square_at(
    time_s: float,
    looked_s: NDArray[np.float64],
    found_s: NDArray[np.float64],
    boxes: NDArray[np.float32],
    margin: float,
) -> NDArray[np.float32]:
    """Return the smoothed square of one face at one time, as ``squares`` would.

    Args:
        time_s: when it is wanted.
        looked_s: (looked,), when faces were sought, some seconds around it.
        found_s: (found,), when this one was found.
        boxes: (found, 4 or more), x, y, width, height in px.
        margin: share of the face's height added on each side.

    Returns:
        (4,), x0, y0, x1, y1 in px.
    """
    smooth = _smoothed(np.array([time_s]), looked_s, found_s, boxes, margin)
    return np.asarray(_corners(*smooth.T)[0], np.float32)


def _smoothed(
    at_s: NDArray[np.float64],
    looked_s: NDArray[np.float64],
    found_s: NDArray[np.float64],
    boxes: NDArray[np.float32],
    margin: float,
) -> NDArray[np.float64]:
    """Interpolate where a face was found over all looks, and smooth: centre x, y and side."""
    raw = boxes.astype(np.float64)
    middle_x, middle_y = raw[:, 0] + raw[:, 2] / 2, raw[:, 1] + raw[:, 3] / 2
    sides = raw[:, 3] * (1 + 2 * margin)
    places = np.stack(
        [np.interp(looked_s, found_s, values) for values in (middle_x, middle_y, sides)], axis=1
    )  # (looked, 3)
    distance = (at_s[:, None] - looked_s[None]) / SMOOTH_S
    weights = np.exp(-0.5 * distance**2)
    return np.asarray(weights @ places / weights.sum(1, keepdims=True), np.float64)


def _corners(
    x: NDArray[np.float64], y: NDArray[np.float64], side: NDArray[np.float64]
) -> NDArray[np.float32]:
    half = side / 2
    return np.stack([x - half, y - half, x + half, y + half], axis=1).astype(np.float32)
