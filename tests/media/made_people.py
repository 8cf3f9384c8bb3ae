"""Made scenes: coloured heads before textured walls, and what finds them: truth is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from claip_emo.media.following import Follower, Looked, Moment, Track

HEIGHT, WIDTH = 120, 160
STEP_S = 0.125
SHARE = 0.8  # width of a face relative to its height
CHIN = (255, 0, 255)  # a bar below each face: nothing else has its colour
CHIN_PX = 4


@dataclass(frozen=True)
class Head:
    """Somebody: who, and x, y and height of the face in px."""

    seed: int
    x: float = 56
    y: float = 36
    height: int = 48

    @property
    def box(self) -> tuple[float, ...]:
        """The face as detectors tell it, with how far it is turned."""
        return (round(self.x), round(self.y), round(self.height * SHARE), self.height, 0.9, 0.0)


@lru_cache(4096)
def texture(seed: int, height: int, width: int, cells: int, spread: float) -> np.ndarray:
    """Smooth spots of light and dark, (height, width, 1), about 0."""
    spots = np.random.default_rng(seed).normal(0, spread, (cells, cells)).astype(np.float32)
    return cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]


@lru_cache(64)
def wall(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """What is behind people, (height, width, 3), float."""
    colour = np.random.default_rng(1000 + seed).uniform(50, 190, 3)
    return colour + texture(2000 + seed, height, width, 6, 18)


def scene(
    heads: Sequence[Head], background: int = 0, *, height: int = HEIGHT, width: int = WIDTH,
    shift: int = 0, chins: bool = True,
) -> np.ndarray:  # fmt: skip
    """Draw heads, (height, width, 3), uint8 RGB.

    Args:
        heads: the later, the nearer.
        background: which wall.
        height: of the picture.
        width: of the picture.
        shift: by how many px the camera has turned away from the wall.
        chins: whether faces have the bar that ``Chins`` finds.
    """
    picture = wall(background, height, width + abs(shift))[:, abs(shift) :].copy()
    for head in heads:
        _draw(picture, head, chins)
    return np.clip(picture, 0, 255).round().astype(np.uint8)


def _draw(picture: np.ndarray, head: Head, chins: bool) -> None:
    rng = np.random.default_rng(head.seed)
    hair, face, clothes = rng.permutation(
        np.stack([rng.uniform(0, 90, 3), rng.uniform(90, 200, 3), rng.uniform(60, 250, 3)])
    )
    x, y, width, height = (int(value) for value in head.box[:4])
    _fill(picture, x - width // 4, y + height, width * 3 // 2, height, clothes, head.seed + 1)
    _fill(picture, x - width // 6, y - height // 3, width * 4 // 3, height, hair, head.seed + 2)
    _fill(picture, x, y, width, height, face, head.seed + 3)
    if chins:
        bar = picture[max(y + height - CHIN_PX, 0) : y + height, max(x, 0) : x + width]
        bar[:] = CHIN


def _fill(picture, x: int, y: int, width: int, height: int, colour, seed: int) -> None:
    """Fill a rectangle with a colour and the texture of a seed; what sticks out is cut."""
    part = colour + texture(seed, height, width, 5, 25)
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + width, picture.shape[1]), min(y + height, picture.shape[0])
    if x0 < x1 and y0 < y1:
        picture[y0:y1, x0:x1] = part[y0 - y : y1 - y, x0 - x : x1 - x]


class Chins:
    """Finds the faces of scenes by the bars at their chins."""

    name = "chins"

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, frame: np.ndarray) -> np.ndarray:
        self.calls += 1
        near = np.abs(frame.astype(int) - CHIN).max(axis=-1) < 60
        _, _, parts, _ = cv2.connectedComponentsWithStats(near.astype(np.uint8))
        found = [
            (x, y + high - round(wide / SHARE), wide, round(wide / SHARE), 0.9)
            for x, y, wide, high, area in parts[1:]
            if area > CHIN_PX * 4
        ]
        return np.array(sorted(found), np.float32).reshape(-1, 5)


def looked(
    number: int,
    heads: Sequence[Head],
    background: int = 0,
    *,
    found: Sequence[Head] | None = None,
    step_s: float = STEP_S,
    **how,
) -> Looked:
    """The picture of some number, and the faces that are found in it: those of all its heads."""
    boxes = [head.box for head in (heads if found is None else found)]
    picture = scene(heads, background, **how)
    return Looked(number * step_s, picture, np.array(boxes, np.float32).reshape(-1, 6))


def follow(
    pictures: Iterable[Looked], step_s: float = STEP_S, margin: float = 0.0
) -> tuple[list[Moment], list[Track], list[float]]:
    """Follow all faces: moments, tracks in the order in which they begin, and times of cuts."""
    follower = Follower(step_s, margin)
    moments = list(follower.follow(pictures))
    return moments, sorted(follower.tracks, key=lambda track: track.number), follower.cuts_s
