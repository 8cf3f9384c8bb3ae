"""Drawn faces: several people, seven emotions, moving.

Two pairs of emotions are drawn alike, so that the face alone cannot tell them apart: fear and
surprise (wide eyes, open mouth), sadness and neutral (a still face).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

CANVAS = 192  # px on which faces are drawn, before they are scaled down
SHIFT = 4  # OpenCV draws at 1/16 px
ONSET = 0.2  # share of the clip in which the still face turns into the expression
SKIN = [
    (236, 200, 172),
    (222, 178, 142),
    (198, 150, 112),
    (160, 114, 82),
    (140, 98, 70),
    (112, 78, 58),
]
HAIR = [(40, 30, 26), (78, 54, 36), (124, 84, 46), (188, 150, 92), (150, 150, 152), (140, 60, 36)]


@dataclass(frozen=True, slots=True)
class Expression:
    """What a face does; 0 is at rest.

    Attributes:
        brow_raise: brows up (1) or down (-1).
        brow_tilt: inner ends down (1: a frown) or up (-1).
        eye_open: 1 normal, 0 shut, 1.6 wide.
        smile: corners of the mouth up (1) or down (-1).
        mouth_open: 0 closed to 1 wide open.
        mouth_width: 1 normal.
        nose_wrinkle: 0 to 1, with the upper lip raised.
    """

    brow_raise: float = 0.0
    brow_tilt: float = 0.0
    eye_open: float = 1.0
    smile: float = 0.0
    mouth_open: float = 0.0
    mouth_width: float = 1.0
    nose_wrinkle: float = 0.0

    def toward(self, other: Expression, share: float) -> Expression:
        """Return what lies between this and another expression."""
        mixed = (
            getattr(self, f.name) + share * (getattr(other, f.name) - getattr(self, f.name))
            for f in fields(self)
        )
        return Expression(*mixed)


REST = Expression()
STILL = Expression(brow_tilt=-0.1, smile=-0.1)
ALARMED = Expression(brow_raise=1.0, eye_open=1.6, mouth_open=0.9, mouth_width=0.7, smile=-0.1)
EXPRESSIONS: dict[str, Expression] = {
    "happiness": Expression(
        brow_raise=0.2, eye_open=0.7, smile=1.0, mouth_open=0.3, mouth_width=1.3
    ),
    "sadness": STILL,
    "neutral": STILL,
    "anger": Expression(brow_raise=-0.7, brow_tilt=1.0, eye_open=0.75, smile=-0.8, mouth_width=0.9),
    "surprise": ALARMED,
    "fear": ALARMED,
    "disgust": Expression(
        brow_raise=-0.4, brow_tilt=0.4, eye_open=0.4, smile=-0.5, mouth_open=0.35, nose_wrinkle=1.0
    ),
}


@dataclass(frozen=True, slots=True)
class Person:
    """What stays the same of a person's face; lengths in px of the canvas."""

    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    background: tuple[int, int, int]
    iris: tuple[int, int, int]
    width: float
    height: float
    eye_distance: float
    eye_size: float
    brow_thickness: float
    nose_length: float
    mouth_width: float
    hair_height: float
    long_hair: bool

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Person:
        """Draw a person: colours vary widely, proportions moderately."""
        skin = np.array(SKIN[rng.integers(len(SKIN))]) + rng.integers(-8, 9, 3)
        hair = np.array(HAIR[rng.integers(len(HAIR))]) + rng.integers(-10, 11, 3)
        return cls(
            skin=_colour(skin),
            hair=_colour(hair),
            background=_colour(0.4 * rng.integers(40, 255, 3) + 0.6 * 190),
            iris=_colour(rng.integers(40, 130, 3)),
            width=float(rng.uniform(58, 68)),
            height=float(rng.uniform(76, 86)),
            eye_distance=float(rng.uniform(25, 30)),
            eye_size=float(rng.uniform(10, 12.5)),
            brow_thickness=float(rng.uniform(4, 7)),
            nose_length=float(rng.uniform(20, 27)),
            mouth_width=float(rng.uniform(22, 28)),
            hair_height=float(rng.uniform(0.45, 0.7)),
            long_hair=bool(rng.random() < 0.5),
        )


def draw_frames(
    person: Person,
    emotion: str,
    rng: np.random.Generator,
    *,
    count: int,
    size_px: int,
    mouth: NDArray[np.float64] | None = None,
) -> NDArray[np.uint8]:
    """Draw a clip: from a still face to the expression, with blinks, small motion and noise.

    Args:
        person: who is drawn.
        emotion: one of ``EXPRESSIONS``.
        rng: generator of strength, motion, light and noise.
        count: number of frames.
        size_px: side of the square frames.
        mouth: (frame,), 0 to 1: how far it opens with the voice.

    Returns:
        (frame, size, size, 3), uint8 RGB.
    """
    strength = rng.uniform(0.75, 1.15)
    jitter = Expression(*rng.normal(0, 0.07, len(fields(Expression))))
    goal = REST.toward(EXPRESSIONS[emotion], strength)
    goal = Expression(*(getattr(goal, f.name) + getattr(jitter, f.name) for f in fields(goal)))
    light = rng.uniform(0.75, 1.15)
    tilt, sway = rng.normal(0, 0.05), rng.uniform(1, 4, 2)
    phase = rng.uniform(0, 2 * np.pi, 2)
    shift = rng.normal(0, 4, 2)
    blinks = rng.random(count) < 0.04
    frames = []
    for index in range(count):
        time = index / max(count - 1, 1)
        now = REST.toward(goal, float(np.clip(time / ONSET, 0, 1)))
        speaking = 0.0 if mouth is None else 0.18 * float(mouth[index])
        now = Expression(
            now.brow_raise,
            now.brow_tilt,
            0.1 if blinks[index] else now.eye_open,
            now.smile,
            max(0.0, now.mouth_open) + speaking,
            now.mouth_width,
            max(0.0, now.nose_wrinkle),
        )
        moved = shift + sway * np.sin(2 * np.pi * time * np.array([0.7, 1.1]) + phase)
        canvas = _face(person, now, moved, tilt)
        small = cv2.resize(canvas, (size_px, size_px), interpolation=cv2.INTER_AREA)
        noise = rng.standard_normal(small.shape, dtype=np.float32)
        noisy = small * np.float32(light) + 3 * noise
        frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return np.stack(frames)


def _face(
    person: Person, face: Expression, moved: NDArray[np.float64], tilt: float
) -> NDArray[np.uint8]:
    """Draw one face on the canvas."""
    canvas = np.full((CANVAS, CANVAS, 3), person.background, np.uint8)
    # Plain floats: for single points they are several times as fast as small arrays.
    middle_x, middle_y = CANVAS / 2 + float(moved[0]), CANVAS * 0.52 + float(moved[1])
    cos, sin = math.cos(tilt), math.sin(tilt)

    def at(x: float, y: float) -> tuple[float, float]:
        return middle_x + cos * x - sin * y, middle_y + sin * x + cos * y

    def oval(x: float, y: float, w: float, h: float, colour: tuple[int, int, int]) -> None:
        _ellipse(canvas, at(x, y), (w, h), tilt, colour)

    dark = _colour(np.array(person.skin) * 0.45)
    shade = _colour(np.array(person.skin) * 0.8)
    hair_down = 22 if person.long_hair else -8
    oval(
        0, hair_down - 12, person.width * 1.14, person.height * 1.02 + hair_down * 0.4, person.hair
    )
    oval(0, 0, person.width, person.height, person.skin)
    _fill(
        canvas,
        [at(x, y) for x, y in _hairline(person)],
        person.hair,
    )
    for side in (-1, 1):
        x = side * person.eye_distance
        open_px = max(0.8, person.eye_size * 0.75 * face.eye_open)
        oval(x, -12, person.eye_size * 1.25, open_px, (246, 246, 244))
        iris = min(open_px, person.eye_size * 0.55)
        oval(x, -12, min(iris, person.eye_size * 0.55), iris, person.iris)
        oval(x, -12, iris * 0.5, iris * 0.5, (10, 10, 10))
        lid = [at(x + u * person.eye_size * 1.3, -12 - open_px * (1 - u * u)) for u in _U]
        _line(canvas, lid, dark, 2)
        height = -12 - person.eye_size * 1.35 - 9 * face.brow_raise
        inner = height + 9 * face.brow_tilt
        outer = height - 3 * face.brow_tilt
        arch = [
            at(
                x + side * u * person.eye_size * 1.5,
                (inner * (1 - u) + outer * (1 + u)) / 2 - 3 * (1 - u * u),
            )
            for u in _U
        ]
        _line(canvas, arch, person.hair, round(person.brow_thickness))
        if face.nose_wrinkle > 0.2:
            for step in range(3):
                y = -2 + 5 * step
                _line(canvas, [at(side * 3, y), at(side * (9 + step), y - 5)], dark, 1)
            fold = [at(side * (14 + 8 * v), 18 + 18 * v) for v in (0.0, 0.5, 1.0)]
            _line(canvas, fold, dark, round(1 + 2 * face.nose_wrinkle))
    if face.brow_tilt > 0.5:
        for side in (-1, 1):
            _line(canvas, [at(side * 4, -30), at(side * 3, -20)], dark, 2)
    nose = person.nose_length * (1 - 0.25 * face.nose_wrinkle)
    _line(canvas, [at(-2, -6), at(-6, nose - 4), at(0, nose), at(6, nose - 4)], shade, 3)
    _mouth(canvas, person, face, at)
    return canvas


def _mouth(canvas: NDArray[np.uint8], person: Person, face: Expression, at) -> None:
    half = person.mouth_width * face.mouth_width
    base = 42 - 4 * face.nose_wrinkle
    corner = -11 * face.smile
    upper = [
        (
            u * half,
            base + corner * u * u - (4 + 5 * face.nose_wrinkle) * face.mouth_open * (1 - u * u),
        )
        for u in _U
    ]
    lower = [(u * half, base + corner * u * u + 26 * face.mouth_open * (1 - u * u) + 1) for u in _U]
    lips = (168, 70, 72)
    points = [at(x, y) for x, y in [*upper, *reversed(lower)]]
    if face.mouth_open > 0.08:
        _fill(canvas, points, (70, 20, 26))
        if face.smile > 0.3 or face.nose_wrinkle > 0.5:
            teeth = [(x, min(y + 6, low)) for (x, y), (_, low) in zip(upper, lower, strict=True)]
            _fill(canvas, [at(x, y) for x, y in [*upper, *reversed(teeth)]], (240, 238, 232))
    _line(canvas, [at(x, y) for x, y in upper], lips, 4)
    _line(canvas, [at(x, y) for x, y in lower], lips, 4)


_U = np.linspace(-1, 1, 9).tolist()


def _hairline(person: Person) -> list[tuple[float, float]]:
    """Return the outline of the hair over the forehead."""
    top = -person.height
    low = top * (1 - 0.55 * (1 - person.hair_height)) + 14
    angles = np.linspace(np.pi * 1.05, np.pi * 1.95, 11)
    outer = [(1.06 * person.width * np.cos(a), 1.06 * person.height * np.sin(a)) for a in angles]
    inner = [(0.9 * person.width * u, low + 12 * u * u) for u in np.linspace(0.95, -0.95, 7)]
    return outer + inner


def _colour(values: NDArray[np.generic] | np.ndarray) -> tuple[int, int, int]:
    red, green, blue = np.clip(values, 0, 255).astype(int)
    return int(red), int(green), int(blue)


def _fixed(points) -> NDArray[np.int32]:
    return np.round(np.array(points) * 2**SHIFT).astype(np.int32)


def _fill(canvas, points, colour) -> None:
    cv2.fillPoly(canvas, [_fixed(points)], colour, cv2.LINE_AA, SHIFT)


def _line(canvas, points, colour, thickness: int) -> None:
    cv2.polylines(canvas, [_fixed(points)], False, colour, thickness, cv2.LINE_AA, SHIFT)


def _ellipse(canvas, centre, axes, tilt: float, colour) -> None:
    x, y = _fixed(centre)
    w, h = _fixed(axes)
    degrees = float(np.degrees(tilt))
    cv2.ellipse(
        canvas, (int(x), int(y)), (int(w), int(h)), degrees, 0, 360, colour, -1, cv2.LINE_AA, SHIFT
    )
