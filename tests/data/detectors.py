"""Detectors for tests; what takes no torch, so that processes begin at once."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from claip_emo.media.spec import ClipSpec

from ..media.test_faces import faces

SPEC = ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=1.0)


class Bright:
    """Finds the bright square."""

    name = "bright"

    def detect(self, frame: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(frame[..., 0] > 128)
        if not len(rows):
            return faces()
        x, y = columns.min(), rows.min()
        return faces((x, y, columns.max() + 1 - x, rows.max() + 1 - y, 1.0))


class Corner:
    """Finds a face that reaches over the border."""

    name = "corner"

    def detect(self, frame: np.ndarray) -> np.ndarray:
        return faces((-8, -6, 24, 28, 0.9))


class Slow(Bright):
    """Takes its time."""

    def detect(self, frame: np.ndarray) -> np.ndarray:
        time.sleep(0.03)
        return super().detect(frame)


class Deadly(Bright):
    """Crashes on a bright picture, as a decoder may on a damaged one."""

    def detect(self, frame: np.ndarray) -> np.ndarray:
        if frame.mean() > 190:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().detect(frame)
