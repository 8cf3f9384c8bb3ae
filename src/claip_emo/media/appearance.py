"""Whether two faces are one person's: colours of face and hair, and the pattern of the face.

No network that knows people: what is joined here are the shots of one recording, in which light,
hair and camera stay, not the faces of strangers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from claip_emo.media.picture import Frame, coarse

# Least likeness of one person in two shots. Seen in colour: one actor in two recordings 0.84, two
# who look alike before one background 0.79. In grey, of 198 faces: one pair in a thousand has 0.87.
SAME_IN_COLOUR = 0.82
SAME_IN_GREY = 0.92
SAME_NEARBY = 0.80  # from one sampled frame to the next, at one place; seen: 0.96 and more
FAMILIAR = 0.96  # what looks so much like a look that is known adds nothing to it
LOOKS_KEPT = 8

HISTOGRAM = (16, 16, 16)  # bins of lightness and of both colours
LEAST_LAB, MOST_LAB = (0, 64, 64), (255, 191, 191)  # in 8 bits; no skin is more colourful
RANGES = (0, 256, 64, 192, 64, 192)
SIDE_PX = 32  # on which colours are counted
LEAST_PX = 64  # of the shorter side of a part, before it is scaled
PATCH_PX = (24, 28)  # width and height of the pattern
COLOURFUL = 4.0  # mean distance from grey, of 128

Vector = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Look:
    """What a face looks like in one picture.

    Attributes:
        vector: of length 1: the colours of the face, those of the hair above it, and the pattern
            of light and dark, a third of it each.
        colourful: whether there is colour at all.
        lightness: mean of the face, 0 black to 1 white (CIE L*).
    """

    vector: Vector
    colourful: bool
    lightness: float

    @property
    def needed(self) -> float:
        """How like it a face in another shot must be to be the same person's."""
        return SAME_IN_COLOUR if self.colourful else SAME_IN_GREY

    def like(self, other: Look) -> float:
        """Return how much two faces look alike; 1: the same."""
        return float(self.vector.astype(np.float32) @ other.vector.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A gallery as it is compared.

    Attributes:
        vectors: (look, width).
        needed: (look,), how like each a face in another shot must be.
    """

    vectors: NDArray[np.float32]
    needed: NDArray[np.float64]

    def same_as(self, other: Prepared) -> float:
        """Return by how much they look more alike than two people do; below 0: less."""
        if not (len(self.needed) and len(other.needed)):
            return -1.0
        needed = np.maximum.outer(self.needed, other.needed)
        return float((self.vectors @ other.vectors.T - needed).max())


@dataclass(slots=True)
class Gallery:
    """The different looks of one person."""

    looks: list[Look] = field(default_factory=list)

    def add(self, look: Look) -> None:
        """Keep a look, unless it is known already or there are enough."""
        if len(self.looks) < LOOKS_KEPT and self.like(look) < FAMILIAR:
            self.looks.append(look)

    def like(self, look: Look) -> float:
        """Return how much a face looks like the most similar one that is kept."""
        return max((kept.like(look) for kept in self.looks), default=0.0)

    def prepared(self) -> Prepared:
        """Return it as it is compared with many others."""
        vectors = [look.vector for look in self.looks] or [np.zeros(0, np.float16)]
        needed = np.array([look.needed for look in self.looks])
        return Prepared(np.stack(vectors).astype(np.float32), needed)

    def same_as(self, other: Gallery) -> float:
        """Return by how much two galleries look more alike than two people do; below 0: less."""
        return self.prepared().same_as(other.prepared())

    def take(self, others: Iterable[Look]) -> None:
        """Keep the looks of another gallery too."""
        for look in others:
            self.add(look)


def look_of(picture: Frame, box: NDArray[np.float32]) -> Look:
    """Describe a face.

    Args:
        picture: (height, width, 3), uint8 RGB.
        box: x, y, width, height, ... of the face in it.
    """
    x, y, width, height = (float(value) for value in box[:4])
    middle, centre = x + width / 2, y + height / 2
    face = _cut(picture, x, y, x + width, y + height)
    hair = _cut(
        picture, middle - 0.6 * height, centre - 0.9 * height,
        middle + 0.6 * height, centre - 0.35 * height,
    )  # fmt: skip
    whole = _cut(
        picture, middle - 0.55 * height, centre - 0.6 * height,
        middle + 0.55 * height, centre + 0.6 * height,
    )  # fmt: skip
    colours = _lab(face)
    away = np.abs(colours[..., 1:].astype(np.float32) - 128).sum(axis=-1).mean()
    parts = _histogram(colours), _histogram(_lab(hair)), _pattern(whole)
    return Look(
        vector=np.asarray(np.concatenate(parts) / np.sqrt(len(parts)), np.float16),
        colourful=bool(away > COLOURFUL),
        lightness=float(colours[..., 0].mean()) / 255,
    )


def _cut(picture: Frame, left: float, top: float, right: float, bottom: float) -> Frame:
    """Cut out what lies inside the picture, at least one pixel, some rows and columns of it."""
    height, width = picture.shape[:2]
    x0, y0 = (int(min(max(v, 0), n - 1)) for v, n in ((left, width), (top, height)))
    x1, y1 = (int(min(max(v, 1), n)) for v, n in ((right, width), (bottom, height)))
    return coarse(picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)], LEAST_PX)


def _lab(part: Frame) -> Frame:
    small = cv2.resize(part, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.uint8)


def _histogram(lab: Frame) -> NDArray[np.float32]:
    """Return the roots of the shares of colours, a vector of length 1."""
    within = np.clip(lab, LEAST_LAB, MOST_LAB).astype(np.uint8)  # coloured light goes beyond
    counts = cv2.calcHist([within], [0, 1, 2], None, list(HISTOGRAM), list(RANGES)).ravel()
    return np.asarray(np.sqrt(counts / max(float(counts.sum()), 1.0)), np.float32)


def _pattern(part: Frame) -> NDArray[np.float32]:
    """Return light and dark about their mean, a vector of length 1."""
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, PATCH_PX, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small.astype(np.float32), (3, 3), 0)
    centred = smooth - smooth.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), np.float32).ravel()
