"""Explanation: which frames, which seconds of sound and which region carried a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claip_emo.inference.occlusion import Drops, covers

UNITS = 10_000  # in which places within a crop are computed

Values = dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What carried the label of a clip: drops of the label when a part is hidden.

    Attributes:
        path: the file.
        label: the most probable emotion.
        scores: probability of each emotion, as ``predict`` has them.
        values: probability and log-odds of the label from ``both`` face and voice, from the
            ``face`` or the ``voice`` alone, and from ``neither``.
        used: what the model had, of ``face`` and ``voice``.
        frame_times_s: (frame,), when each distinct frame is shown.
        frame_drops: (frame,), each frame hidden.
        attention: (frame,), of the CLS token, averaged over heads and views; None: no Transformer.
        pieces_s: (piece, 2), begin and end of each piece of sound.
        piece_drops: (piece,), each piece silenced.
        covered: places of the frames in which regions were covered; empty: there is no picture.
        region_drops: (row, column), a square of a quarter of the side covered there; None: there is
            no picture.
        face_margin: share of the face's height around it in the crop; None: no face was found.
    """

    path: str
    label: str
    scores: dict[str, float]
    values: Values
    used: tuple[str, ...]
    frame_times_s: NDArray[np.float64]
    frame_drops: Drops
    attention: NDArray[np.float64] | None
    pieces_s: NDArray[np.float64]
    piece_drops: Drops
    covered: tuple[int, ...]
    region_drops: Drops | None
    face_margin: float | None

    @property
    def shares(self) -> dict[str, float]:
        """How much face and voice each carry of the label's log-odds: their Shapley values.

        Each is the mean of what it adds to nothing and of what it adds to the other. Their sum is
        what both add to nothing; one that speaks against the label is negative.
        """
        odds = {name: value for name, (_, value) in self.values.items()}
        gain = odds["both"] - odds["neither"]
        face = (gain + odds["face"] - odds["voice"]) / 2
        both = {"face": face, "voice": gain - face}
        return {name: share for name, share in both.items() if name in self.used}

    @property
    def strongest_region(self) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom, as shares of the crop, of the square that matters most."""
        if self.region_drops is None or self.region_drops.log_odds.max() <= 0:
            return None
        place = self.region_drops.log_odds.argmax()
        row, column = np.unravel_index(place, self.region_drops.log_odds.shape)
        (top, bottom), (left, right) = covers(UNITS)[[row, column]] / UNITS
        return float(left), float(top), float(right), float(bottom)
