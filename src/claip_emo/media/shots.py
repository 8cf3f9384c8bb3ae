"""Where one shot ends and the next begins, told from pictures some tenths of a second apart."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from claip_emo.media.picture import Frame, coarse

THUMB = (32, 18)  # width and height on which pictures are compared: motion within a cell is none
LEAST_PX = 90  # of the shorter side, of which the thumbnail is made
LEAST_CHANGE = 4.0  # of 255, the mean over a picture; from one head to another on one background
SUDDEN = 4.0  # times as much as pictures of the shot changed lately
SETTLED = 1.5  # times as much as the picture after it changes: else something moves
SURE_CHANGE = 10.0  # where it is a cut even if the same faces stay in their places
REMEMBERED = 16  # changes

Thumb = NDArray[np.float32]


class Shots:
    """Tells cuts from motion, pictures one after the other.

    A cut is a change that is sudden and stays: a flash is over with the picture after it. In a shot
    that moves from its start the next picture changes as much.
    """

    def __init__(self) -> None:
        """Begin without any picture."""
        self._changes: deque[float] = deque(maxlen=REMEMBERED)
        self._before_flash: Thumb | None = None

    def change(self, before: Thumb, now: Thumb, after: Thumb | None) -> float:
        """Return how much a cut between two pictures changes; 0: there is none.

        Args:
            before: thumbnail of the last picture.
            now: of this one.
            after: of the next one; None: there is none.

        Returns:
            The mean change, from 0 to 255.
        """
        before = before if self._before_flash is None else self._before_flash
        change = distance(before, now)
        usual = float(np.median(self._changes)) if self._changes else 0.0
        lasting = min(change, distance(before, after)) if after is not None else change
        least = max(LEAST_CHANGE, SUDDEN * usual)
        self._before_flash = before if lasting < least <= change else None
        moves = after is not None and lasting < SETTLED * distance(now, after)
        cut = lasting >= (max(least, SURE_CHANGE) if moves else least)
        if self._before_flash is None and (moves or not cut):
            self._changes.append(change)
        return lasting if cut else 0.0


def thumbnail(picture: Frame) -> Thumb:
    """Scale a picture (height, width, 3), uint8 RGB, down to (18, 32, 3) in CIE Lab, 0 to 255."""
    small = cv2.resize(coarse(picture, LEAST_PX), THUMB, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.float32)


def distance(one: Thumb, other: Thumb) -> float:
    """Return the mean difference of two thumbnails, from 0 to 255."""
    return float(np.abs(one - other).mean())
